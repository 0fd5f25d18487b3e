"""Checkpoints of wav2vec 2.0's kin from Hugging Face folders and fairseq files."""

from pathlib import Path

from stablequant.recognisers.ctc.front_end import read_front_end, write_front_end
from stablequant.recognisers.family import Imported
from stablequant.recognisers.wav2vec2.fairseq import read_fairseq
from stablequant.recognisers.wav2vec2.huggingface import read_huggingface
from stablequant.recognisers.wav2vec2.layers import quantized_modules


def read(source: Path) -> Imported:
    """The recogniser in ``source``, a file that fairseq wrote or a folder."""
    model, front_end = read_fairseq(source) if source.is_file() else read_huggingface(source)

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        write_front_end(folder, front_end)
        read_front_end(folder)  # raises where the vocabulary cannot be one

    return Imported(model, quantized_modules(model.config.to_dict()), write)
