"""Import checkpoints of the wav2vec 2.0 family from Hugging Face folders and fairseq files."""

from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import read_front_end, write_front_end
from stablequant.recognisers.ctc.huggingface import read_huggingface, waveform_front_end
from stablequant.recognisers.family import Imported
from stablequant.recognisers.wav2vec2.fairseq import read_fairseq
from stablequant.recognisers.wav2vec2.layers import config_of, quantized_modules

HUGGING_FACE = ("model", "pytorch_model")  # how files of weights begin in this layout


def read(source: Path, language: str | None = None) -> Imported:
    """Read the checkpoint in ``source``, a file of fairseq or a folder, with its adapter for ``language``.

    Raises `StableQuantError` if it is damaged or not supported, or has no such language.
    """
    if source.is_file() and source.name.startswith(HUGGING_FACE) and (source.parent / "config.json").is_file():
        fault = "the weights of a Hugging Face checkpoint, which needs the files beside them too"
        raise StableQuantError(source, fault, f"name its folder, {source.parent}")
    if source.is_file() and language is not None:
        fault = f"it has no adapters for languages, but 'target_lang' is '{language}'"
        raise StableQuantError(source, fault, "leave 'target_lang' out")
    if source.is_file():
        model, front_end = read_fairseq(source)
    else:
        model, front_end = read_huggingface(source, waveform_front_end, language)

    def write(folder: Path) -> None:
        model.save_pretrained(folder, save_original_format=False)  # by today's names of the weights
        write_front_end(folder, front_end)
        read_front_end(folder)  # raises StableQuantError if the vocabulary is not valid

    return Imported(model, quantized_modules(config_of(model)), write)
