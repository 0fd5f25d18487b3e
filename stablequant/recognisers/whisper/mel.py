"""Whisper's log-mel features, in NumPy.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, section 2.2. The mel scale and the
weights of the filters are those of Slaney's Auditory Toolbox (1998).
"""

import functools

import numpy as np

from stablequant.recognisers.mel_filters import energies, triangles

FLOOR = 1e-10  # smallest power, before the logarithm
RANGE = 8.0  # powers of ten below the loudest value that are kept
LINEAR_UP_TO = 1000.0  # Hz; the mel scale is linear below and logarithmic above
HERTZ_PER_MEL = 200.0 / 3
LOG_STEP = np.log(6.4) / 27.0
HIGHEST = 8000.0  # Hz, upper edge of the last filter
BLOCK = 6000  # frames computed at once


def log_mel(samples: np.ndarray, sample_rate: int, bins: int, fft: int, hop: int) -> np.ndarray:
    """Log-mel features, float32 ``(bins, len(samples) // hop)``, of a recording of any length.

    Parameters
    ----------
    samples: float32 ``(samples,)``, full scale is 1
    sample_rate: in Hz
    bins: number of mel filters
    fft: samples of a frame
    hop: samples from one frame to the next
    """
    padded = np.pad(samples, fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, fft)[::hop][: len(samples) // hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)
    filters = mel_filters(sample_rate, bins, fft)
    logarithm = np.empty((bins, len(frames)), dtype=np.float32)
    for first in range(0, len(frames), BLOCK):
        spectrum = np.fft.rfft(frames[first : first + BLOCK].astype(np.float64) * window, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        logarithm[:, first : first + BLOCK] = np.log10(np.maximum(energies(filters, power), FLOOR))
    kept: np.ndarray = np.maximum(logarithm, logarithm.max() - np.float32(RANGE))
    return (kept + 4) / 4


@functools.cache
def mel_filters(sample_rate: int, bins: int, fft: int) -> np.ndarray:
    """Weights of the mel filters, float64 ``(bins, fft // 2 + 1)``: triangles of equal area."""
    edges = mel_to_hertz(np.linspace(0, hertz_to_mel(HIGHEST), bins + 2))
    frequencies = np.linspace(0, sample_rate / 2, fft // 2 + 1)
    filters: np.ndarray = triangles(frequencies, edges) * 2 / (edges[2:] - edges[:-2])[:, None]
    return filters


def hertz_to_mel(hertz: float) -> float:
    """A frequency of at least 1,000 Hz on Slaney's mel scale."""
    return float(LINEAR_UP_TO / HERTZ_PER_MEL + np.log(hertz / LINEAR_UP_TO) / LOG_STEP)


def mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    """Frequencies in Hz of values on Slaney's mel scale."""
    bend = LINEAR_UP_TO / HERTZ_PER_MEL
    hertz: np.ndarray = np.where(mel < bend, mel * HERTZ_PER_MEL, LINEAR_UP_TO * np.exp(LOG_STEP * (mel - bend)))
    return hertz
