"""Import checkpoints of the wav2vec 2.0 family from Hugging Face folders and fairseq files."""

from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import read_front_end, write_front_end
from stablequant.recognisers.family import Imported
from stablequant.recognisers.wav2vec2.fairseq import read_fairseq
from stablequant.recognisers.wav2vec2.huggingface import read_huggingface
from stablequant.recognisers.wav2vec2.layers import config_of, quantized_modules

HUGGING_FACE = ("model", "pytorch_model")  # how files of weights begin in this layout


def read(source: Path) -> Imported:
    """Read the checkpoint in ``source``, a file of fairseq or a folder.

    Raises `StableQuantError` if it is damaged or not supported.
    """
    if source.is_file() and source.name.startswith(HUGGING_FACE) and (source.parent / "config.json").is_file():
        fault = "the weights of a Hugging Face checkpoint, which needs the files beside them too"
        raise StableQuantError(source, fault, f"name its folder, {source.parent}")
    model, front_end = read_fairseq(source) if source.is_file() else read_huggingface(source)

    def write(folder: Path) -> None:
        model.save_pretrained(folder, save_original_format=False)  # by today's names of the weights
        write_front_end(folder, front_end)
        read_front_end(folder)  # raises StableQuantError if the vocabulary is not valid

    return Imported(model, quantized_modules(config_of(model)), write)
