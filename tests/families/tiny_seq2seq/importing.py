"""Reading and writing its checkpoints."""

import shutil
from pathlib import Path

from safetensors.torch import save_file
from stablequant.recognisers.tiny_seq2seq.model import modules_of, read_model

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Imported


def read(source: Path, language: str | None = None) -> Imported:
    if language is not None:
        raise StableQuantError(source, "it has one language", "leave 'target_lang' out")
    model = read_model(source)

    def write(folder: Path) -> None:
        save_file(model.state_dict(), folder / "model.safetensors")
        for name in ("config.json", "words.json"):
            shutil.copyfile(source / name, folder / name)

    return Imported(model, modules_of(), write)
