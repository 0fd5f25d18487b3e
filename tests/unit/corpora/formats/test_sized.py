"""Formats that state their bytes: what is cut is refused, what a pipe left open is read to its end."""

import struct

import numpy as np
import pytest
from sound import SPEECH, by_ffmpeg, encoded, heard, needs_ffmpeg

from stablequant.corpora.audio import AudioError
from stablequant.corpora.formats.stream import EXTRA, LENGTH

FORMS = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"]
BYTES = 2 * len(SPEECH)


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_file_is_read_without_a_note(form):
    audio = heard(encoded(form))
    assert audio.notes == ()
    assert (audio.samples == SPEECH).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("missing", [1, 1000, BYTES // 2])
def test_a_cut_file_is_refused_with_how_much_of_it_is_there(form, missing):
    there = BYTES - missing
    share = 100 * there // BYTES
    with pytest.raises(
        AudioError, match=rf"cut off: {there} of {BYTES} bytes of samples are there \({share} %\); copy"
    ):
        heard(encoded(form)[:-missing])


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_ends_in_its_header_is_refused(form):
    with pytest.raises(AudioError, match=r"cut off|damaged"):
        heard(encoded(form)[:30])


@pytest.mark.parametrize("form", FORMS)
def test_bytes_after_the_samples_are_left_out(form):
    audio = heard(encoded(form) + b"TAG" + bytes(range(1, 126)))
    assert audio.notes == (EXTRA,)
    assert (audio.samples == SPEECH).all()


@pytest.mark.parametrize("form", FORMS)
def test_two_joined_files_are_refused(form):
    with pytest.raises(AudioError, match=r"the header states \d+ bytes of samples, but \d+ more follow"):
        heard(encoded(form) * 2)


@pytest.mark.parametrize("stated", [0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
@pytest.mark.parametrize("whole", [0, 36, 0xFFFF_FFFF])
def test_a_wav_that_a_pipe_left_open_is_read_to_its_end(stated, whole):
    content = bytearray(encoded("WAV"))
    content[4:8], content[40:44] = struct.pack("<I", whole), struct.pack("<I", stated)
    audio = heard(bytes(content))
    assert (audio.samples == SPEECH).all()
    assert audio.notes == (LENGTH,)


def test_a_wav_whose_samples_go_on_to_the_stated_end_of_the_file_is_read_to_its_end():
    content = bytearray(encoded("WAV"))
    content[40:44] = struct.pack("<I", BYTES // 2)
    audio = heard(bytes(content))
    assert (audio.samples == SPEECH).all()
    assert audio.notes == (LENGTH,)


def test_joined_files_without_a_length_are_refused():
    content = bytearray(encoded("WAV"))
    content[40:44] = struct.pack("<I", 0xFFFF_FFFF)
    with pytest.raises(AudioError, match="states no length, and another file follows"):
        heard(bytes(content) * 2)


def test_a_wav_without_samples_is_empty():
    content = encoded("WAV", np.zeros(0))
    assert len(heard(content).samples) == 0
    assert len(heard(content + b"LIST" + struct.pack("<I", 4) + b"INFO").samples) == 0


def test_chunks_after_the_samples_are_no_fault():
    content = bytearray(encoded("WAV") + b"LIST" + struct.pack("<I", 4) + b"INFO")
    content[4:8] = struct.pack("<I", len(content) - 8)
    audio = heard(bytes(content))
    assert (audio.samples == SPEECH).all()
    assert audio.notes == ()


@needs_ffmpeg
@pytest.mark.parametrize(
    "options",
    [
        *(["-f", form] for form in ("wav", "w64", "aiff", "au", "caf")),
        ["-f", "wav", "-rf64", "always"],
        ["-f", "wav", "-bitexact"],
    ],
    ids=" ".join,
)
def test_what_ffmpeg_writes_to_a_pipe_is_read_to_its_end(options):
    audio = heard(by_ffmpeg(*options))
    assert (audio.samples == SPEECH).all()
    assert audio.notes == (LENGTH,)


@needs_ffmpeg
def test_mp3_in_a_wav_is_counted_by_its_frames():
    audio = heard(by_ffmpeg("-f", "wav", "-c:a", "libmp3lame"))
    assert audio.file_samples == 576 * 86  # of the 84 frames with speech and two of the encoder's delay
    with pytest.raises(AudioError, match="cut off in the middle of its last frame"):
        heard(by_ffmpeg("-f", "wav", "-c:a", "libmp3lame")[:-100])


@needs_ffmpeg
def test_an_encoding_that_libsndfile_lacks_is_read_by_ffmpeg(tmp_path):
    by_ffmpeg("-y", "-c:a", "wmav2", str(tmp_path / "a.wav"), "-f", "null")
    content = (tmp_path / "a.wav").read_bytes()
    assert heard(content).file_samples == pytest.approx(len(SPEECH), abs=2048)
    with pytest.raises(AudioError, match="cut off"):
        heard(content[:-1000])


def test_compressed_sphere_is_refused_with_the_tool_that_unpacks_it():
    content = encoded("NIST").replace(b"sample_coding -s3 pcm", b"sample_coding -s26 pcm,embedded-shorten-v2.00", 1)
    with pytest.raises(AudioError, match="compressed by shorten; unpack it with sph2pipe"):
        heard(content)
