"""Folders of a training, with the processor one folder up, and folders that hold no recogniser."""

from pathlib import Path

import pytest
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor
from wav2vec2_files import write_tiny_checkpoint

from stablequant.errors import StableQuantError
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.sources import checkpoint_files
from stablequant.recognisers.wav2vec2.family import read_front_end


def trainers_folder(root: Path, together: bool) -> Path:
    """A Trainer's ``checkpoint-500``; ``together`` as transformers 5 writes the processor above it."""
    folder = root / "checkpoint-500"
    write_tiny_checkpoint(folder)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    if together:
        Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))).save_pretrained(root)
        assert not (root / "preprocessor_config.json").exists()
    else:
        extractor.save_pretrained(root)
        (root / "vocab.json").write_text((folder / "vocab.json").read_text())
    (folder / "vocab.json").unlink()
    (folder / "preprocessor_config.json").unlink()
    (folder / "training_args.bin").write_bytes(b"x")
    return folder


@pytest.mark.parametrize("together", [False, True])
def test_the_processor_of_a_trainers_folder_lies_one_folder_up(tmp_path, monkeypatch, together):
    folder = trainers_folder(tmp_path / "run", together)
    import_checkpoint(str(folder), tmp_path / "imported")
    front_end = read_front_end(tmp_path / "imported")
    assert (front_end.do_normalize, front_end.vocabulary.delimiter) == (False, "|")
    listed = {Path(file).resolve() for file in checkpoint_files(str(folder))}
    assert {tmp_path / "run/vocab.json", folder / "config.json"} <= listed
    monkeypatch.chdir(folder)
    import_checkpoint(".", tmp_path / "here")
    assert {Path(file).resolve() for file in checkpoint_files(".")} == listed


def test_the_processor_beside_the_model_comes_first(tmp_path):
    folder = trainers_folder(tmp_path / "run", together=False)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    import_checkpoint(str(folder), tmp_path / "imported")
    assert read_front_end(tmp_path / "imported").do_normalize


def test_above_other_folders_nothing_is_looked_for(tmp_path):
    folder = trainers_folder(tmp_path / "run", together=False).rename(tmp_path / "run/final")
    with pytest.raises(StableQuantError, match=r"final/preprocessor_config\.json: the file does not exist"):
        import_checkpoint(str(folder), tmp_path / "imported")
    assert all(Path(file).parent == folder for file in checkpoint_files(str(folder)))


def test_a_folder_of_checkpoints_is_refused_with_the_newest(tmp_path):
    for steps in (500, 1000):
        (tmp_path / f"checkpoint-{steps}").mkdir()
        (tmp_path / f"checkpoint-{steps}/config.json").write_text("{}")
    with pytest.raises(StableQuantError, match=r"config\.json: .* such as \S+/checkpoint-1000$"):
        family_of(tmp_path)


def test_an_adapter_of_peft_is_refused_by_its_name(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(StableQuantError, match="PEFT: merge it into its model"):
        family_of(tmp_path)
