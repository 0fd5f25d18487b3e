"""One channel of what was decoded, or the mean of all."""

import numpy as np

from stablequant.corpora.formats.stream import AudioError


def mono(values: np.ndarray, channel: int | None) -> np.ndarray:
    """``values`` ``(samples, channels)`` of one ``channel``, from 0, or the mean of all: float32 ``(samples,)``.

    Raises AudioError if there is no such channel.
    """
    count = values.shape[1]
    if channel is not None and channel >= count:
        raise AudioError(f"channel {channel + 1} is wanted, but the file has {count}")
    if channel is None and count > 1:
        mean: np.ndarray = values.mean(axis=1, dtype=np.float32)
        return mean
    return values[:, channel or 0].astype(np.float32)
