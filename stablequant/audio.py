"""Reading audio as a recogniser takes it."""

from pathlib import Path

import numpy as np
import soundfile


class AudioError(Exception):
    """The audio of one utterance cannot be used; the message says why."""


def read_audio(path: Path, sample_rate: int) -> np.ndarray:
    """Mono samples, float32 ``(samples,)`` in [-1, 1].

    Raises
    ------
    AudioError
        when the file is missing, damaged, shorter than its header says, not mono, or has another sample rate.
    """
    if not path.is_file():
        raise AudioError("the file does not exist")
    try:
        with soundfile.SoundFile(path) as file:
            if file.samplerate != sample_rate:
                raise AudioError(f"the sample rate is {file.samplerate} Hz, the recogniser's is {sample_rate} Hz")
            if file.channels != 1:
                raise AudioError(f"{file.channels} channels, not one")
            samples = file.read(dtype="float32")
            if len(samples) != file.frames:
                raise AudioError(f"truncated: {len(samples)} samples of {file.frames} could be read")
    except soundfile.LibsndfileError as error:
        raise AudioError(f"damaged or not audio ({error.error_string.rstrip('.')})") from error
    if not np.isfinite(samples).all():
        raise AudioError("samples that are not finite numbers")
    return samples


def normalise(samples: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance over the utterance, as wav2vec 2.0's preprocessing with ``do_normalize``."""
    centred = samples - samples.mean()
    return centred / np.sqrt(centred.var() + 1e-7)
