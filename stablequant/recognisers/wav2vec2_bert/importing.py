"""Import checkpoints of Wav2Vec2-BERT from Hugging Face folders."""

from pathlib import Path

from transformers import PreTrainedConfig

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.huggingface import read_huggingface, read_tokens
from stablequant.recognisers.family import Imported
from stablequant.recognisers.processor_files import read_preprocessor
from stablequant.recognisers.wav2vec2_bert.front_end import FilterBank, checked, write_filter_bank
from stablequant.recognisers.wav2vec2_bert.layers import config_of, quantized_modules
from stablequant.recognisers.wav2vec2_bert.sizes import read_recognising

EXTRACTOR = "SeamlessM4TFeatureExtractor"


def read(source: Path, language: str | None = None) -> Imported:
    """Read the checkpoint in the folder ``source``.

    Raises `StableQuantError` if it is damaged or not supported, or if a ``language`` is given: no published checkpoint
    of this family has adapters for languages.
    """
    model, front_end = read_huggingface(source, _front_end_of, language)
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
        model.save_pretrained(folder, save_original_format=False)  # by today's names of the weights
        write_filter_bank(folder, front_end)
        read_recognising(folder)  # raises StableQuantError if the vocabulary or the sizes are not valid

    return Imported(model, quantized_modules(config), write)


def _front_end_of(folder: Path, config: PreTrainedConfig, language: str | None) -> FilterBank:
    """The front end in a folder in Hugging Face layout, see `read_huggingface`."""
    file, settings = read_preprocessor(folder)
    kind = settings.get("feature_extractor_type", EXTRACTOR)
    if kind != EXTRACTOR:
        raise StableQuantError(file, f"{kind} makes no log-mel features", f"take a checkpoint with {EXTRACTOR}")
    if settings.get("padding_side", "right") != "right":
        raise StableQuantError(file, "audio is padded on the left", "take a checkpoint that is padded on the right")
    front_end = FilterBank(
        int(settings.get("sampling_rate", 16_000)),
        True,
        read_tokens(folder, config, language),
        mel_bins=int(settings.get("num_mel_bins", 80)),
        stride=int(settings.get("stride", 2)),
        padding_value=float(settings.get("padding_value", 0.0)),
        masked=bool(settings.get("return_attention_mask", True)),
    )
    return checked(front_end, folder)
