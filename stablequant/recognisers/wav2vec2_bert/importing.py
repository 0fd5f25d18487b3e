"""Import checkpoints of Wav2Vec2-BERT from Hugging Face folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.huggingface import read_huggingface, read_preprocessor, read_tokens
from stablequant.recognisers.family import Imported
from stablequant.recognisers.wav2vec2_bert.front_end import FilterBank, checked, write_filter_bank
from stablequant.recognisers.wav2vec2_bert.layers import config_of, quantized_modules
from stablequant.recognisers.wav2vec2_bert.sizes import read_recognising

EXTRACTOR = "SeamlessM4TFeatureExtractor"


def read(source: Path) -> Imported:
    """Read the checkpoint in the folder ``source``; raise `StableQuantError` if it is damaged or not supported."""
    model, front_end = read_huggingface(source, _front_end_of)
    config = config_of(model)
    if front_end.width != config["feature_projection_input_dim"]:
        raise StableQuantError(
            source / "preprocessor_config.json",
            f"{front_end.mel_bins} mel bins in stacks of {front_end.stride} do not fit the network, "
            f"which takes {config['feature_projection_input_dim']} features",
            "restore the files",
        )
    if config["add_adapter"] and not config["num_adapter_layers"]:
        raise StableQuantError(
            source / "config.json", "an adapter without layers is not supported", "set 'add_adapter' to false"
        )

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        write_filter_bank(folder, front_end)
        read_recognising(folder)  # raises StableQuantError if the vocabulary or the sizes are not valid

    return Imported(model, quantized_modules(config), write)


def _front_end_of(folder: Path, config: Mapping[str, Any]) -> FilterBank:
    """The front end in a folder in Hugging Face layout, whose config.json is ``config``."""
    file, settings = folder / "preprocessor_config.json", read_preprocessor(folder)
    kind = settings.get("feature_extractor_type", EXTRACTOR)
    if kind != EXTRACTOR:
        raise StableQuantError(file, f"{kind} makes no log-mel features", f"take a checkpoint with {EXTRACTOR}")
    if settings.get("padding_side", "right") != "right":
        raise StableQuantError(file, "audio is padded on the left", "take a checkpoint that is padded on the right")
    front_end = FilterBank(
        int(settings.get("sampling_rate", 16_000)),
        True,
        read_tokens(folder, config),
        mel_bins=int(settings.get("num_mel_bins", 80)),
        stride=int(settings.get("stride", 2)),
        padding_value=float(settings.get("padding_value", 0.0)),
        masked=bool(settings.get("return_attention_mask", True)),
    )
    return checked(front_end, folder)
