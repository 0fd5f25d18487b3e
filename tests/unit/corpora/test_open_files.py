"""Open files of every kind are read from their start, whatever was read of them before."""

import gzip
import io
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from sound import RATE, SPEECH, encoded, heard

from stablequant.corpora.audio import read_audio


def in_zip(folder: Path, content: bytes) -> BinaryIO:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", content)
    return zipfile.ZipFile(folder / "a.zip").open("a.wav")


def in_tar(folder: Path, content: bytes) -> BinaryIO:
    (folder / "a.wav").write_bytes(content)
    with tarfile.open(folder / "a.tar", "w") as archive:
        archive.add(folder / "a.wav", "a.wav")
    return tarfile.open(folder / "a.tar").extractfile("a.wav")


def compressed(folder: Path, content: bytes) -> BinaryIO:
    (folder / "a.wav.gz").write_bytes(gzip.compress(content))
    return gzip.open(folder / "a.wav.gz")


def on_disk(folder: Path, content: bytes) -> BinaryIO:
    (folder / "a.wav").write_bytes(content)
    return (folder / "a.wav").open("rb")


def without_buffer(folder: Path, content: bytes) -> BinaryIO:
    (folder / "a.wav").write_bytes(content)
    return (folder / "a.wav").open("rb", buffering=0)


def temporary(folder: Path, content: bytes) -> BinaryIO:
    file = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115
    file.write(content)
    return file


def spooled(folder: Path, content: bytes) -> BinaryIO:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    file.write(content)
    return file


Opens = Callable[[Path, bytes], BinaryIO]


@pytest.mark.parametrize("opens", [in_zip, in_tar, compressed, on_disk, without_buffer, temporary, spooled])
@pytest.mark.parametrize("form", ["WAV", "FLAC", "MP3"])
def test_an_open_file_is_read_from_its_start(tmp_path, opens: Opens, form):
    content = encoded(form)
    with opens(tmp_path, content) as file:
        file.read(1000)
        audio = read_audio(file, RATE)
    assert len(audio.samples) == len(SPEECH)
    assert (audio.samples == heard(content).samples).all()


def test_a_pipe_is_read_to_its_end():
    content = encoded("WAV", SPEECH[:8000])
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(content)  # 16 KB, which a pipe holds
    with io.BufferedReader(io.FileIO(reading)) as file:
        assert (read_audio(file, RATE).samples == heard(content).samples).all()
