"""Changed files are noticed by their sizes and times."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stablequant.workflow.fingerprint import fingerprint, fingerprint_with


@pytest.fixture
def corpus(tmp_path) -> list[str]:
    """Two files of audio in each of two folders, with transcripts and what does not belong to them."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in ("a.flac", "b.flac", "c.flac", "1.trans.txt", "notes.txt"):
            (tmp_path / folder / name).write_text("old")
    return [f"{tmp_path}/{folder}/{name}.flac" for folder in ("two", "one") for name in "ab"]


def later(file: Path) -> None:
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("two/b.flac", lambda file: file.write_text("longer")),
        ("one/a.flac", later),
        ("one/a.flac", Path.unlink),
        ("two/1.trans.txt", later),
        ("two/1.trans.txt", Path.unlink),
        ("one/2.trans.txt", Path.touch),
    ],
)
def test_a_changed_file_is_noticed(tmp_path, corpus, name, change: Callable[[Path], object]):
    before = fingerprint_with(corpus, ".trans.txt")
    assert fingerprint_with(corpus, ".trans.txt") == before
    change(tmp_path / name)
    assert fingerprint_with(corpus, ".trans.txt") != before


def test_of_other_files_beside_them_nothing_counts(tmp_path, corpus):
    before = fingerprint_with(corpus, ".trans.txt")
    later(tmp_path / "one/c.flac")
    (tmp_path / "one/notes.txt").unlink()
    (tmp_path / "one/d.flac").touch()
    assert fingerprint_with(corpus, ".trans.txt") == before
    assert fingerprint_with(corpus[:3], ".trans.txt") != before


def test_a_change_is_noticed_behind_a_link_and_where_a_folder_cannot_be_listed(tmp_path, corpus, monkeypatch):
    link = tmp_path / "one/link.flac"
    link.symlink_to(tmp_path / "two/c.flac")
    before = fingerprint_with([str(link)], ".trans.txt")
    later(tmp_path / "two/c.flac")
    assert fingerprint_with([str(link)], ".trans.txt") != before

    def refuse(_folder: str) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "scandir", refuse)
    before = fingerprint_with(corpus, ".trans.txt")
    later(tmp_path / "one/a.flac")
    assert fingerprint_with(corpus, ".trans.txt") != before


def test_names_need_not_be_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.trans.txt")
    (tmp_path / name).touch()
    before = fingerprint_with([f"{tmp_path}/a.flac"], ".trans.txt"), fingerprint([tmp_path / name])
    later(tmp_path / name)
    found = fingerprint_with([f"{tmp_path}/a.flac"], ".trans.txt"), fingerprint([tmp_path / name])
    assert found[0] != before[0] and found[1] != before[1]
