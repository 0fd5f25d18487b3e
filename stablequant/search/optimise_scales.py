"""Choose the range of every activation, by our method or by one of the calibrations that it is compared with."""

from collections.abc import Mapping

import pandas as pd

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Carried, Range
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.ranges import entropy_amax, full_range, percentile_range
from stablequant.recognisers.modules import layer_of_activation

COLUMNS = [
    *("activation", "layer", "percentile", "low", "high", "amax", "centre", "scale", "split", "zero_level"),
    *("carried", "carried_amax"),
]


def optimise_scales(
    histograms: dict[str, Histogram], method: str, uniform_percentile: float, percentiles: Mapping[str, float]
) -> pd.DataFrame:
    """One row per activation with the columns `COLUMNS`, see `stablequant.quantization.int8.Range`.

    ``carried`` lists channels that are quantized apart, and ``carried_amax`` is their largest magnitude.

    The methods ``max``, ``percentile``, ``entropy`` and ``mse`` treat all layers in the same way; ``percentile`` uses
    ``uniform_percentile`` (in percent). The method ``stablequant`` minimises the squared error over each histogram
    clipped at the cut-off of its layer in ``percentiles`` (in percent). Layers without a cut-off are not clipped.

    Raises
    ------
    ValueError
        when ``method`` is unknown.
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
        values = (chosen.low, chosen.high, chosen.amax, chosen.centre, chosen.scale, chosen.split, chosen.zero_level)
        carried = chosen.carried or Carried((), 0.0)
        rows.append([activation, layer, percentile, *values, list(carried.channels), carried.amax])
    return pd.DataFrame(rows, columns=COLUMNS)
