"""Decoded audio, mixed and resampled block by block: a file's rate and channels cost no memory."""

import numpy as np
import soxr

from stablequant.corpora.formats.mixing import mono
from stablequant.corpora.formats.stream import AudioError

HIGHEST_RATE = 10_000_000  # Hz; filters for higher ones need much memory
CANCELLED = "its channels cancel each other out when they are mixed, as if one was inverted; give one of them"
LEFT = 0.01  # part of the channels' energy that is left in their mean if they cancel each other out
UNSCALED = "samples of more than ten times full scale, as of integers that were not scaled; divide them by 32768"
LOUD = 10.0  # ten times full scale
LOUDEST = 2**31  # the largest magnitude of an unscaled 32-bit integer


class Collector:
    """Takes the samples of one recording as they are decoded.

    Attributes
    ----------
    rate: sample rate of the file in Hz, 0 before it is known
    channels: number of channels in the file
    length: number of samples per channel that came
    """

    def __init__(self, sample_rate: int | None, longest: int, channel: int | None = None) -> None:
        """Collect at ``sample_rate`` (Hz), None for that of the file, one ``channel``, from 0, or the mean of all.

        A recording of more than ``longest`` seconds is refused.
        """
        self.rate = self.channels = self.length = 0
        self._sample_rate, self._longest, self._channel = sample_rate, longest, channel
        self._stream: soxr.ResampleStream | None = None
        self._blocks: list[np.ndarray] = [np.zeros(0, dtype=np.float32)]
        self._peak = 0.0
        self._energy = self._mixed = 0.0  # of the channels, and of their mean

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the recording: some of `CANCELLED` and `UNSCALED`."""
        found = {CANCELLED: self._mixed < LEFT * self._energy, UNSCALED: self._peak > LOUD}
        return tuple(note for note, holds in found.items() if holds)

    def begin(self, rate: int, channels: int) -> None:
        """A file with ``rate`` (Hz) and ``channels`` comes next; there are several where files were joined.

        Raises AudioError if the rate is not possible, or if the file does not go with those before.
        """
        if self.rate and (rate, channels) != (self.rate, self.channels):
            raise AudioError("recordings of different rates or channels were joined; part them")
        if not 0 < rate <= HIGHEST_RATE:
            raise AudioError(f"a rate of {rate} Hz")
        if not self.rate and self._sample_rate is not None and self._sample_rate != rate:
            self._stream = soxr.ResampleStream(rate, self._sample_rate, 1, dtype="float32")
        self.rate, self.channels = rate, channels

    def add(self, values: np.ndarray) -> None:
        """Take the next samples, float32 ``(samples, channels)``; full scale is 1.

        Raises AudioError if the recording is too long, or if samples are NaN, infinite or too large.
        """
        samples = mono(values, self._channel)
        self.length += len(samples)
        if self.length > self._longest * self.rate:
            raise AudioError(f"longer than {self._longest} s; cut it into parts")
        if not np.isfinite(samples).all():
            raise AudioError("the samples contain NaN or infinity")
        if len(samples):
            self._peak = max(self._peak, float(samples.max()), -float(samples.min()))
        if self._peak > LOUDEST:
            raise AudioError(f"samples of up to {self._peak:.0e}, where full scale is 1")
        if self._channel is None and self.channels > 1:
            self._energy += float(np.vdot(values, values)) / self.channels
            self._mixed += float(np.vdot(samples, samples))
        self._blocks.append(samples if self._stream is None else self._stream.resample_chunk(samples))

    def samples(self) -> np.ndarray:
        """What was collected, float32 ``(samples,)``; nothing can be added any more."""
        if self._stream is not None and self.length:
            self._blocks.append(self._stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
            self._stream = None
        return np.concatenate(self._blocks)
