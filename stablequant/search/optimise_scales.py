"""The range of every activation, by the method's own steps and by the plain calibrations it is compared with."""

from collections.abc import Mapping

import pandas as pd

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.ranges import entropy_amax, full_range, percentile_range
from stablequant.recognisers.family import layer_of_activation

COLUMNS = ["activation", "layer", "percentile", "low", "high", "amax", "centre", "scale", "split"]


def optimise_ranges(
    histograms: dict[str, Histogram], method: str, uniform_percentile: float, percentiles: Mapping[str, float]
) -> pd.DataFrame:
    """One row per activation, `COLUMNS`: the range from ``low`` to ``high`` reaches ``amax`` to either side of
    ``centre``, and one level's scale is amax / 127; with ``split`` what that leaves is quantized too.

    ``max``, ``percentile`` (the same ``uniform_percentile`` everywhere), ``entropy`` and ``mse`` treat all layers
    alike. ``stablequant`` minimises the squared error over each histogram clipped at the one of ``percentiles``
    that is its layer's; a layer without one is not clipped.
    """
    rows = []
    for activation, histogram in histograms.items():
        layer = layer_of_activation(activation)
        percentile = 100.0
        if method == "max":
            chosen = full_range(histogram)
        elif method == "percentile":
            percentile = uniform_percentile
            chosen = percentile_range(histogram, percentile)
        elif method == "entropy":
            chosen = Range.symmetric(entropy_amax(histogram))
        elif method == "mse":
            chosen = mse_range(histogram)
        elif method == "stablequant":
            percentile = percentiles.get(layer, 100.0)
            chosen = mse_range(histogram, percentile)
        else:
            raise ValueError(f"unknown method {method}")
        values = (chosen.low, chosen.high, chosen.amax, chosen.centre, chosen.scale, chosen.split)
        rows.append([activation, layer, percentile, *values])
    return pd.DataFrame(rows, columns=COLUMNS)
