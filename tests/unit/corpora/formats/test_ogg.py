"""Ogg: every page must be there, the marked last one too."""

import numpy as np
import pytest
from sound import SPEECH, by_ffmpeg, encoded, heard, likeness, needs_ffmpeg

from stablequant.corpora.audio import AudioError
from stablequant.corpora.formats.stream import EXTRA

CODECS = ["VORBIS", "OPUS"]


def pages(content: bytes) -> list[bytes]:
    starts = [place for place in range(len(content)) if content.startswith(b"OggS\0", place)]
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def long(codec: str) -> bytes:
    """Four times the speech, which takes several pages."""
    return encoded("OGG", np.tile(SPEECH, 4), subtype=codec)


@pytest.mark.parametrize("codec", CODECS)
def test_a_whole_file_is_read_without_a_note(codec):
    audio = heard(encoded("OGG", subtype=codec))
    assert audio.notes == ()
    assert len(audio.samples) == len(SPEECH)
    assert likeness(audio.samples) > 0.9


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("missing", [1, 10, 5000])
def test_a_cut_page_is_noticed(codec, missing):
    content = long(codec)
    with pytest.raises(AudioError, match=f"its last page is missing, {len(content) - missing} bytes are there; copy"):
        heard(content[:-missing])


@pytest.mark.parametrize("codec", CODECS)
def test_a_missing_page_is_noticed(codec):
    parts = pages(long(codec))
    assert len(parts) > 4
    with pytest.raises(AudioError, match="cut off: its last page is missing"):
        heard(b"".join(parts[:-1]))
    with pytest.raises(AudioError, match="damaged: pages are missing after"):
        heard(b"".join([*parts[:3], *parts[4:]]))


@pytest.mark.parametrize("codec", CODECS)
def test_joined_files_are_read_one_after_another(codec):
    audio = heard(encoded("OGG", subtype=codec) * 2)
    assert len(audio.samples) == 2 * len(SPEECH)
    assert likeness(audio.samples[len(SPEECH) :]) > 0.9


def test_bytes_after_the_last_page_are_left_out():
    audio = heard(encoded("OGG") + b"TAG" + bytes(range(125)))
    assert len(audio.samples) == len(SPEECH)
    assert audio.notes == (EXTRA,)
    with pytest.raises(AudioError, match=r"damaged: \d+ of its \d+ bytes are no pages of Ogg"):
        heard(encoded("OGG") + bytes(50_000))


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["flac", "libspeex"])
def test_codecs_that_libsndfile_does_not_read_are_read_by_ffmpeg(codec):
    content = by_ffmpeg("-f", "ogg", "-c:a", codec)
    assert heard(content).file_samples == pytest.approx(len(SPEECH), abs=640)
    with pytest.raises(AudioError, match="its last page is missing"):
        heard(content[:-10])
