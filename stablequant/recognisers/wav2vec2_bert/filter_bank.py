"""Log-mel features as Kaldi computes them, see ``compute-fbank-feats`` in Kaldi and SeamlessM4T's feature extractor."""

from functools import cache

import numpy as np

from stablequant.recognisers.mel_filters import energies, triangles

WINDOW, HOP, FFT = 400, 160, 512  # samples; the feature extractor has no settings for them, whatever the sample rate
LOWEST = 20.0  # Hz, lower end of the first mel filter
PREEMPHASIS = 0.97
FULL_SCALE = 2**15  # Kaldi reads audio as 16-bit integers
FLOOR = float(np.finfo(np.float32).eps)  # least energy of a mel filter
BLOCK = 1024  # frames that are computed at once, to limit memory


def frames_of(samples: int) -> int:
    """Number of frames in ``samples`` samples."""
    return max(0, 1 + (samples - WINDOW) // HOP)


def log_mel(samples: np.ndarray, sample_rate: int, mel_bins: int) -> np.ndarray:
    """Natural logarithms of the energies in the mel filters, float32 ``(frames, mel_bins)``.

    ``samples`` are float32 ``(samples,)`` with a full scale of 1, at least `WINDOW` of them.
    """
    framed = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    filters = mel_filters(sample_rate, mel_bins)
    found = np.empty((mel_bins, len(framed)), dtype=np.float32)
    for start in range(0, len(framed), BLOCK):
        frames = framed[start : start + BLOCK].astype(np.float64) * FULL_SCALE
        frames -= frames.mean(axis=1, keepdims=True)
        emphasised = frames.copy()
        emphasised[:, 1:] -= PREEMPHASIS * frames[:, :-1]
        emphasised[:, 0] *= 1 - PREEMPHASIS
        spectrum = np.fft.rfft(emphasised * povey_window(), FFT)
        found[:, start : start + BLOCK] = np.log(np.maximum(FLOOR, energies(filters, np.abs(spectrum) ** 2)))
    return found.T


def povey_window() -> np.ndarray:
    """Kaldi's window, ``(WINDOW,)``: a Hann window to the power of 0.85."""
    window: np.ndarray = np.hanning(WINDOW) ** 0.85
    return window


@cache
def mel_filters(sample_rate: int, mel_bins: int) -> np.ndarray:
    """Weights of the frequencies in each filter, float64 ``(mel_bins, FFT // 2 + 1)``.

    The filters are triangles of the same width on the mel scale, from `LOWEST` to half the sample rate.
    """
    edges = np.linspace(_mel(LOWEST), _mel(sample_rate // 2), mel_bins + 2)
    frequencies = _mel(np.arange(FFT // 2 + 1) * sample_rate / FFT)
    return triangles(frequencies, edges)


def _mel(hertz: float | np.ndarray) -> np.ndarray:
    """Kaldi's mel scale."""
    mels: np.ndarray = 1127.0 * np.log1p(np.asarray(hertz) / 700.0)
    return mels
