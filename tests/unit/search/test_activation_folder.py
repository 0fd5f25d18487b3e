"""Stored activations are released whole."""

from pathlib import Path

import pytest

from stablequant.search.activation_folder import file_of, folder_of, release


def test_files_lie_beside_their_index():
    assert folder_of(Path("results/demo/activations.json")) == Path("results/demo/activations")
    assert file_of(Path("a/activations.json"), "cnn02") == Path("a/activations/cnn02.safetensors")


def test_what_is_released_is_counted_and_gone(tmp_path):
    index = tmp_path / "activations.json"
    index.write_text("{}")
    assert release(index) == 0
    folder_of(index).mkdir()
    file_of(index, "a").write_bytes(bytes(7))
    file_of(index, "b").write_bytes(bytes(5))
    assert release(index) == 12
    assert release(index) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["activations.json"]


def test_an_interrupted_release_leaves_nothing_under_its_name_and_is_finished_by_the_next(tmp_path, monkeypatch):
    index = tmp_path / "activations.json"
    folder_of(index).mkdir()
    file_of(index, "a").write_bytes(bytes(7))

    def interrupt(folder: Path, ignore_errors: bool) -> None:
        if folder.is_dir():
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            release(index)
    assert not folder_of(index).exists()
    assert release(index) == 0
    assert not list(tmp_path.iterdir())
