"""Reading audio as a recogniser takes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

BLOCK = 2**20  # values decoded at once; what a header claims is never allocated
LONGEST = 24 * 3600  # seconds
LOUDEST = 2**31  # of any sample, were it an unscaled integer


class AudioError(Exception):
    """The audio of one utterance cannot be used; the message says why."""


@dataclass(frozen=True)
class Audio:
    """Mono ``samples``, float32 in [-1, 1], at the rate asked for; the file holds ``file_samples`` at ``file_rate``."""

    samples: np.ndarray
    file_samples: int
    file_rate: int


def read_audio(source: Path | BinaryIO, sample_rate: int, mix: bool = False) -> Audio:
    """Read a file or an open one, resampled to ``sample_rate`` where it has another.

    With ``mix`` several channels become their mean.

    Raises
    ------
    AudioError
        when the file is missing, damaged, shorter than its header says, longer than a day, or, without ``mix``, not
        mono.
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
    except TypeError as error:  # of a name that ends with .raw; soundfile asks for what such a file does not say
        if not str(getattr(source, "name", source)).lower().endswith(".raw"):
            raise
        raise AudioError("raw samples, which do not say what they are") from error
    if rate <= 0:
        raise AudioError(f"a rate of {rate} Hz")
    if not np.isfinite(samples).all():
        raise AudioError("samples that are not finite numbers")
    if len(samples) and max(samples.max(), -samples.min()) > LOUDEST:
        raise AudioError(f"samples of up to {np.abs(samples).max():.0e}, where full scale is 1")
    resampled = samples if rate == sample_rate or not len(samples) else soxr.resample(samples, rate, sample_rate)
    return Audio(resampled, len(samples), rate)
