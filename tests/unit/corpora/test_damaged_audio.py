"""Damaged audio: refused, or samples that are finite."""

import io

import numpy as np
import pytest
import soundfile
from hostile import DAMAGE, MANY
from hypothesis import given
from hypothesis import strategies as st

from stablequant.corpora.audio import AudioError, read_audio

SOUND = (0.3 * np.sin(np.arange(4000) / 7) + 0.01 * np.random.default_rng(0).standard_normal(4000)).astype(np.float32)
FORMS = {
    name: (lambda buffer: (soundfile.write(buffer, SOUND, 16_000, **how), buffer.getvalue())[1])(io.BytesIO())
    for name, how in {
        "flac": {"format": "FLAC"},
        "wav": {"format": "WAV"},
        "float wav": {"format": "WAV", "subtype": "FLOAT"},
        "ogg": {"format": "OGG"},
        "mp3": {"format": "MP3"},
        **{form.lower(): {"format": form} for form in ("AIFF", "AU", "CAF", "NIST", "RF64", "W64")},
    }.items()
}
FORMS["mp4"] = b"\0\0\0\x10ftypM4A " + bytes(4) + b"\0\0\0\x10mdat" + bytes(8) + b"\0\0\0\x10moov" + bytes(8)
FORMS["webm"] = bytes.fromhex("1a45dfa3 84 42868101 18538067 88") + bytes(8)
FORMS["wma"] = (
    bytes.fromhex("3026b2758e66cf11") + bytes(16) + bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(99)
)


@pytest.fixture
def without_ffmpeg(monkeypatch, tmp_path):
    """A machine on which ffmpeg is not found. Starting it for each of so many files would take minutes."""
    monkeypatch.setenv("PATH", str(tmp_path))


@MANY
@given(form=st.sampled_from(sorted(FORMS)), damage=DAMAGE, kept=st.floats(0.01, 1))
def test_damaged_audio_is_refused_or_finite(without_ffmpeg, form, damage, kept):
    content = bytearray(FORMS[form])
    for place, value in damage:
        content[int(place * len(content))] = value
    del content[int(kept * len(content)) :]
    try:
        audio = read_audio(io.BytesIO(bytes(content)), 16_000)
    except AudioError:
        return
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert np.isfinite(audio.samples).all()


def test_a_header_that_claims_an_age_of_sound_allocates_nothing():
    content = bytearray(FORMS["flac"])
    content[21:26] = bytes([content[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])  # samples in all, 36 bits of STREAMINFO
    with pytest.raises(AudioError, match=r"cut off: 4000 of 68719476735 samples"):
        read_audio(io.BytesIO(bytes(content)), 16_000)
