"""Import checkpoints of the wav2vec 2.0 family from Hugging Face folders and fairseq files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import FrontEnd, read_front_end, write_front_end
from stablequant.recognisers.ctc.huggingface import read_huggingface, read_preprocessor, read_tokens
from stablequant.recognisers.family import Imported
from stablequant.recognisers.wav2vec2.fairseq import read_fairseq
from stablequant.recognisers.wav2vec2.layers import config_of, quantized_modules


def read(source: Path) -> Imported:
    """Read the checkpoint in ``source``, a file of fairseq or a folder.

    Raises `StableQuantError` if it is damaged or not supported.
    """
    model, front_end = read_fairseq(source) if source.is_file() else read_huggingface(source, _front_end_of)

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        write_front_end(folder, front_end)
        read_front_end(folder)  # raises StableQuantError if the vocabulary is not valid

    return Imported(model, quantized_modules(config_of(model)), write)


def _front_end_of(folder: Path, config: Mapping[str, Any]) -> FrontEnd:
    """The front end in a folder in Hugging Face layout, whose config.json is ``config``."""
    for key in ("add_adapter", "adapter_attn_dim"):
        if config.get(key):
            raise StableQuantError(
                folder / "config.json", f"checkpoints with adapters ({key}) are not supported", "take one without"
            )
    settings = read_preprocessor(folder)
    kind = settings.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    if kind != "Wav2Vec2FeatureExtractor":
        raise StableQuantError(
            folder / "preprocessor_config.json",
            f"{kind} does not take raw audio",
            "take a checkpoint that reads the waveform",
        )
    return FrontEnd(
        int(settings.get("sampling_rate", 16_000)),
        bool(settings.get("do_normalize", True)),
        read_tokens(folder, config),
    )
