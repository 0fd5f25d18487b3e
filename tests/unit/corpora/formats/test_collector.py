"""Decoded audio that is resampled as it comes: the same samples, and little memory."""

import io
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr

from stablequant.corpora.audio import AudioError, audio_of, read_audio
from stablequant.corpora.formats.collector import CANCELLED, UNSCALED, Collector

RATE = 16_000


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("length", [1, 10, 1_000, 100_003])
def test_blocks_of_any_size_become_what_the_whole_would(rate, length):
    draw = np.random.default_rng(length)
    values = draw.uniform(-1, 1, (length, 2)).astype(np.float32)
    collector = Collector(RATE, longest=3600)
    collector.begin(rate, 2)
    for block in np.split(values, np.sort(draw.integers(0, length + 1, 5))):
        collector.add(block)
    whole = values.mean(axis=1, dtype=np.float32)
    expected = whole if rate == RATE else soxr.resample(whole, rate, RATE)
    assert np.array_equal(collector.samples(), expected)
    assert (collector.length, collector.rate, collector.channels) == (length, rate, 2)


def test_a_small_file_of_a_high_rate_needs_little_memory():
    """Silence in FLAC: 20 s at 655 kHz are 52 MB in floating point, in a file of less than 100 kB."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 655_350, 1, format="FLAC", subtype="PCM_16") as flac:
        for _ in range(20):
            flac.write(np.zeros(655_350, dtype=np.int16))
    assert len(file.getvalue()) < 100_000
    tracemalloc.start()
    try:
        audio = read_audio(file, RATE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(audio.samples), audio.file_samples) == (20 * RATE, 20 * 655_350)
    assert peak < 30e6


def test_what_is_too_long_is_refused_when_it_becomes_so():
    collector = Collector(RATE, longest=2)
    collector.begin(8_000, 1)
    collector.add(np.zeros((16_000, 1), dtype=np.float32))
    with pytest.raises(AudioError, match="longer than 2 s"):
        collector.add(np.zeros((1, 1), dtype=np.float32))


@pytest.mark.parametrize("rate", [-1, 0, 2**31 - 1])
def test_an_impossible_rate_is_refused(rate):
    """The filter for the last would take seconds and gigabytes."""
    with pytest.raises(AudioError, match=f"a rate of {rate} Hz"):
        Collector(RATE, longest=2).begin(rate, 1)


def test_integers_that_were_not_scaled_are_told():
    """Some recognisers hear nothing in them."""
    voice = np.random.default_rng(0).integers(-3000, 3000, RATE).astype(np.int16)
    assert audio_of(voice.astype(np.float32), RATE, RATE).notes == (UNSCALED,)
    assert audio_of(voice, RATE, RATE).notes == ()


@pytest.mark.parametrize(
    ("other", "notes"), [(-1.0, (CANCELLED,)), (-0.9, (CANCELLED,)), (0.0, ()), (1.0, ()), (None, ())]
)
def test_channels_that_cancel_each_other_out_are_told(other, notes):
    """An inverted channel leaves silence, in which no words are found; silence itself does not."""
    voice = np.random.default_rng(0).uniform(-1, 1, RATE).astype(np.float32)
    stereo = np.zeros((RATE, 2), dtype=np.float32) if other is None else np.stack([voice, other * voice], axis=1)
    assert audio_of(stereo, RATE, RATE).notes == notes
    assert audio_of(voice, RATE, RATE).notes == ()
