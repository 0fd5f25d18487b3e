"""Recordings in the formats that people bring, made from one of the demo's."""

import io
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from checkout import PROJECT

from stablequant.corpora.audio import Audio, read_audio

SPEECH, RATE = soundfile.read(PROJECT / "resources/demo/speech/evaluation/101/1/101-1-0000.flac", dtype="float32")

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def encoded(form: str, samples: np.ndarray = SPEECH, **how) -> bytes:
    """``samples`` as libsndfile writes them."""
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=form, **how)
    return file.getvalue()


def by_ffmpeg(*options: str, content: bytes | None = None) -> bytes:
    """The speech as ffmpeg writes it to a pipe."""
    command = ["ffmpeg", "-v", "error", "-i", "pipe:0", *options, "pipe:1"]
    return subprocess.run(command, input=content or encoded("WAV"), capture_output=True, check=True).stdout


def heard(content: bytes) -> Audio:
    return read_audio(io.BytesIO(content), RATE)


def likeness(samples: np.ndarray, delay: int = 0) -> float:
    """Correlation of ``samples``, which begin ``delay`` samples late, with the speech."""
    late = samples[delay:][: len(SPEECH)]
    return float(np.corrcoef(late, SPEECH[: len(late)])[0, 1])
