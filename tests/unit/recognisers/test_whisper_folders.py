"""Folders of a Whisper whose processor lies in other files, or one folder up as in a training."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer
from whisper_files import split_tokenizer, write_tiny_whisper

from stablequant.errors import StableQuantError
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.sources import checkpoint_files
from stablequant.recognisers.whisper.front_end import FrontEnd, read_front_end
from stablequant.storage.files import read_json

MODEL = {"config.json", "generation_config.json", "model.safetensors"}
WRITTEN = "preprocessor_config.json"


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> FrontEnd:
    """That of a folder with all files, as transformers 4 writes them."""
    folder = tmp_path_factory.mktemp("plain")
    write_tiny_whisper(folder / "source")
    return imported(folder / "source", folder / "imported")


def imported(source: Path, folder: Path) -> FrontEnd:
    import_checkpoint(str(source), folder)
    return read_front_end(folder)


def save_together(folder: Path) -> None:
    """Save the processor as transformers 5 does."""
    extractor, tokenizer = (kind.from_pretrained(folder) for kind in (WhisperFeatureExtractor, WhisperTokenizer))
    (folder / WRITTEN).unlink()
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    assert not (folder / WRITTEN).exists()


def without_tokenizer(front_end: FrontEnd) -> FrontEnd:
    """To compare; tokenizers are equal only if they are one."""
    return replace(front_end, tokenizer=None)


@pytest.mark.parametrize("above", [False, True], ids=["beside", "above"])
@pytest.mark.parametrize("save", [save_together, split_tokenizer, lambda folder: None], ids=["together", "split", "4"])
def test_the_processor_is_found(plain, tmp_path, save, above):
    source = tmp_path / "run/checkpoint-500"
    write_tiny_whisper(source)
    save(source)
    if above:
        for file in {file for file in source.iterdir() if file.name not in MODEL}:
            shutil.move(file, source.parent)
    found = imported(source, tmp_path / "imported")
    assert without_tokenizer(found) == without_tokenizer(plain)
    assert found.spelling == {"colour": "color"}
    tokens = [front_end.tokenizer.encode("two words", add_special_tokens=False).ids for front_end in (found, plain)]
    assert tokens[0] == tokens[1]
    settings = read_json(tmp_path / "imported" / WRITTEN)
    assert settings["feature_extractor_type"] == "WhisperFeatureExtractor", "for optimum and OpenVINO GenAI"
    files = {Path(file) for file in checkpoint_files(str(source))}
    folder = source.parent if above else source
    assert {file for file in folder.iterdir() if file.is_file()} <= files, "a change of any must rerun the import"


def test_above_other_folders_nothing_is_looked_for(tmp_path):
    write_tiny_whisper(tmp_path / "run/final")
    shutil.move(tmp_path / "run/final" / WRITTEN, tmp_path / "run")
    with pytest.raises(StableQuantError, match=r"final/preprocessor_config\.json: the file does not exist"):
        import_checkpoint(str(tmp_path / "run/final"), tmp_path / "imported")
