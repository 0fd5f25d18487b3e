"""The range of every activation, by the method's own steps and by the plain calibrations it is compared with."""

import pandas as pd

from stablequant.histograms import Histogram
from stablequant.layers import layer_of_activation
from stablequant.mse import clip, mse_amax
from stablequant.quantization import scale_of
from stablequant.ranges import entropy_amax, percentile_amax


def optimise_ranges(
    histograms: dict[str, Histogram], method: str, uniform_percentile: float, searched: dict[str, float]
) -> pd.DataFrame:
    """One row per activation: ``activation layer percentile amax scale`` (scale = amax / 127).

    ``max``, ``percentile`` (the same ``uniform_percentile`` everywhere), ``entropy`` and ``mse`` treat all layers
    alike. ``stablequant`` minimises the squared error over each histogram clipped at its layer's ``searched``
    percentile; layers that were not searched keep 100 %.
    """
    rows = []
    for activation, histogram in histograms.items():
        layer = layer_of_activation(activation)
        percentile = 100.0
        if method == "max":
            amax = histogram.amax
        elif method == "percentile":
            percentile = uniform_percentile
            amax = percentile_amax(histogram, percentile)
        elif method == "entropy":
            amax = entropy_amax(histogram)
        elif method == "mse":
            amax = mse_amax(histogram)
        elif method == "stablequant":
            percentile = searched.get(layer, 100.0)
            amax = mse_amax(clip(histogram, percentile_amax(histogram, percentile)))
        else:
            raise ValueError(f"unknown method {method}")
        rows.append([activation, layer, percentile, amax, float(scale_of(amax))])
    return pd.DataFrame(rows, columns=["activation", "layer", "percentile", "amax", "scale"])
