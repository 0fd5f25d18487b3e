"""Cached hidden values are removed whole."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from checkout import PROJECT

from stablequant.search.hidden_values_folder import file_of, folder_of, remove_cache


def test_files_lie_beside_their_index():
    assert folder_of(Path("results/demo/hidden_values.json")) == Path("results/demo/hidden_values")
    assert file_of(Path("a/hidden_values.json"), "cnn02") == Path("a/hidden_values/cnn02.safetensors")


def test_what_is_removed_is_counted_and_gone(tmp_path):
    index = tmp_path / "hidden_values.json"
    index.write_text("{}")
    assert remove_cache(index) == 0
    folder_of(index).mkdir()
    file_of(index, "a").write_bytes(bytes(7))
    file_of(index, "b").write_bytes(bytes(5))
    assert remove_cache(index) == 12
    assert remove_cache(index) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"hidden_values.json", ".hidden_values.lock"}


def test_an_interrupted_removal_leaves_nothing_under_its_name_and_is_finished_by_the_next(tmp_path, monkeypatch):
    index = tmp_path / "hidden_values.json"
    folder_of(index).mkdir()
    file_of(index, "a").write_bytes(bytes(7))

    def interrupt(folder: Path, ignore_errors: bool) -> None:
        if folder.is_dir():
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            remove_cache(index)
    assert not folder_of(index).exists()
    assert remove_cache(index) == 0
    assert [path.name for path in tmp_path.iterdir()] == [".hidden_values.lock"]


READ = """
import sys
from pathlib import Path
from stablequant.search.hidden_values import HiddenValues
hidden_values = HiddenValues(Path(sys.argv[1]), {}, ["a"])
print("read", flush=True)
sys.stdin.readline()
"""


def test_a_cache_that_another_process_reads_is_removed_only_when_it_has_ended(tmp_path, caplog):
    index = tmp_path / "hidden_values.json"
    index.write_text('{"layers": []}')
    folder_of(index).mkdir()
    reader = subprocess.Popen(
        [sys.executable, "-c", READ, str(index)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert reader.stdout.readline() == "read\n"
    remover = threading.Thread(target=remove_cache, args=[index])
    with caplog.at_level("INFO"):
        remover.start()
        remover.join(timeout=1)
    assert remover.is_alive()
    assert folder_of(index).is_dir()
    assert caplog.messages == [f"{folder_of(index)}: in use by another process; waiting until it ends"]
    reader.communicate("\n")
    remover.join(timeout=20)
    assert not folder_of(index).exists()
