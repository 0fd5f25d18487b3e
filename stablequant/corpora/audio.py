"""Read audio in the form that a recogniser takes: mono, float32, at its sample rate."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

BLOCK = 2**20  # values decoded at once; memory is never allocated by the length that a header claims
LONGEST = 24 * 3600  # seconds
LOUDEST = 2**31  # the largest magnitude of an unscaled 32-bit integer


class AudioError(Exception):
    """The audio of one utterance cannot be used; the message says why."""


@dataclass(frozen=True)
class Audio:
    """A mono recording.

    Attributes
    ----------
    samples: float32 ``(samples,)``, full scale is 1, at the requested sample rate
    file_samples: number of samples in the file, before resampling
    file_rate: sample rate of the file in Hz
    """

    samples: np.ndarray
    file_samples: int
    file_rate: int


def cut(samples: np.ndarray, sample_rate: int, start: float | None, stop: float | None) -> np.ndarray:
    """``samples`` ``(samples,)`` from ``start`` to ``stop`` in seconds; all of them if these are None."""
    if start is None or stop is None:
        return samples
    return samples[round(start * sample_rate) : round(stop * sample_rate)]


def read_audio(source: Path | BinaryIO, sample_rate: int, mix: bool = False) -> Audio:
    """Read an audio file, given as a path or opened. Resample it to ``sample_rate`` (Hz) if its rate is different.

    With ``mix``, several channels are replaced by their mean.

    Raises
    ------
    AudioError
        when the file is missing, damaged, shorter than its header says or longer than a day, when it contains NaN or
        infinity or too large samples, or, without ``mix``, when it is not mono.
    """
    if isinstance(source, Path) and not source.is_file():
        raise AudioError("the file does not exist")
    try:
        with soundfile.SoundFile(source) as file:
            if file.channels != 1 and not mix:
                raise AudioError(f"{file.channels} channels, not one")
            if file.frames > LONGEST * file.samplerate:
                raise AudioError(f"longer than {LONGEST // 3600} hours")
            blocks = []
            while len(block := file.read(max(1, BLOCK // file.channels), dtype="float32", always_2d=True)):
                blocks.append(block[:, 0] if file.channels == 1 else block.mean(axis=1))
            samples = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
            if len(samples) != file.frames:
                raise AudioError(f"truncated: {len(samples)} samples of {file.frames} could be read")
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise AudioError(f"damaged or not audio ({error.error_string.rstrip('.')})") from error
    except TypeError as error:  # for names that end with .raw: soundfile needs the format, which such a file lacks
        if not str(getattr(source, "name", source)).lower().endswith(".raw"):
            raise
        raise AudioError("raw samples without a header") from error
    if rate <= 0:
        raise AudioError(f"a rate of {rate} Hz")
    if not np.isfinite(samples).all():
        raise AudioError("the samples contain NaN or infinity")
    if len(samples) and max(samples.max(), -samples.min()) > LOUDEST:
        raise AudioError(f"samples of up to {np.abs(samples).max():.0e}, where full scale is 1")
    resampled = samples if rate == sample_rate or not len(samples) else soxr.resample(samples, rate, sample_rate)
    return Audio(resampled, len(samples), rate)
