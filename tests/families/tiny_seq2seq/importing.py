"""Reading and writing its checkpoints."""

import shutil
from pathlib import Path

from safetensors.torch import save_file
from stablequant.recognisers.tiny_seq2seq.model import modules_of, read_model

from stablequant.recognisers.family import Imported


def read(source: Path) -> Imported:
    model = read_model(source)

    def write(folder: Path) -> None:
        save_file(model.state_dict(), folder / "model.safetensors")
        for name in ("config.json", "words.json"):
            shutil.copyfile(source / name, folder / name)

    return Imported(model, modules_of(), write)
