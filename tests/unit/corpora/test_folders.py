"""Which recordings lie below a folder."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from stablequant.corpora.folders import audio_files, list_folder, transcript_files
from stablequant.errors import StableQuantError


def touch(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(root: Path) -> list[str]:
    return [str(file.relative_to(root)) for file in audio_files(root)]


def test_links_to_folders_are_followed(tmp_path):
    """As in a corpus whose speakers lie on several disks."""
    touch(tmp_path, ["disk/84/1/a.flac", "disk/85/1/b.FLAC", "disk/85/1/notes.txt", "corpus/90/1/c.wav"])
    for speaker in ("84", "85"):
        (tmp_path / "corpus" / speaker).symlink_to(tmp_path / "disk" / speaker)
    (tmp_path / "linked").symlink_to("corpus")
    for root in ("corpus", "linked"):
        assert found(tmp_path / root) == ["84/1/a.flac", "85/1/b.FLAC", "90/1/c.wav"]


def test_a_folder_to_which_several_ways_lead_is_listed_once(tmp_path):
    touch(tmp_path, ["disk/x/a.wav", "disk/x/y/b.wav", "corpus/real/c.wav"])
    links = {"again": "real", "one": "../disk/x/y", "three": "../disk", "two": "../disk/x"}
    for name, target in links.items():
        (tmp_path / "corpus" / name).symlink_to(target)
    assert found(tmp_path / "corpus") == ["one/b.wav", "real/c.wav", "three/x/a.wav"]


def test_copies_and_links_to_files_stay_files_of_their_own(tmp_path):
    """As in a cache of Hugging Face: each name has its own transcript."""
    touch(tmp_path, ["blobs/0a1b", "corpus/1/a.wav", "corpus/2/a.wav"])
    (tmp_path / "corpus/b.wav").symlink_to(tmp_path / "blobs/0a1b")
    (tmp_path / "corpus/c.wav").symlink_to(tmp_path / "blobs/0a1b")
    assert found(tmp_path / "corpus") == ["1/a.wav", "2/a.wav", "b.wav", "c.wav"]


def test_links_that_lead_back_end(tmp_path):
    touch(tmp_path, ["corpus/1/a.wav", "corpus/1/2/b.wav"])
    (tmp_path / "corpus/1/2/back").symlink_to("../../../corpus")
    (tmp_path / "corpus/itself").symlink_to(".")
    assert found(tmp_path / "corpus") == ["1/2/b.wav", "1/a.wav"]


def test_a_folder_behind_a_link_that_is_not_mounted_is_told(tmp_path):
    touch(tmp_path, ["corpus/1/a.wav"])
    (tmp_path / "corpus/.#lock").symlink_to("somebody@somewhere.1")  # of an editor
    (tmp_path / "corpus/b.wav").symlink_to("/no/such/blob")  # rejected when it is decoded
    assert found(tmp_path / "corpus") == ["1/a.wav", "b.wav"]
    (tmp_path / "corpus/84").symlink_to("/no/such/84")
    with pytest.raises(StableQuantError, match=r"corpus/84: a link to '/no/such/84', which is not here; mount or"):
        audio_files(tmp_path / "corpus")


def test_a_folder_that_cannot_be_listed_is_told(tmp_path, monkeypatch):
    touch(tmp_path, ["1/a.wav", "2/b.wav"])
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if Path(folder).name == "2":
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StableQuantError, match=r"/2: the folder cannot be listed \(Permission denied\); make it"):
        audio_files(tmp_path)


def test_what_macos_keeps_beside_files_is_neither_audio_nor_a_transcript(tmp_path):
    touch(tmp_path, ["1/a.flac", "1/._a.flac", "1/x.trans.txt", "1/._x.trans.txt"])
    assert found(tmp_path) == ["1/a.flac"]
    assert transcript_files(tmp_path / "1") == [tmp_path / "1/x.trans.txt"]


def test_a_folder_without_transcripts_is_refused_before_anything_is_decoded(tmp_path):
    touch(tmp_path, ["1/b.wav", "1/a.wav", "2/x.trans.txt"])
    with pytest.raises(StableQuantError, match=r"2 audio files, and no transcripts .* beside them; name the table"):
        list_folder(tmp_path)
    touch(tmp_path, ["1/x.trans.txt"])
    assert [(entry.line, entry.path) for entry in list_folder(tmp_path).entries] == [(1, "1/a.wav"), (2, "1/b.wav")]
