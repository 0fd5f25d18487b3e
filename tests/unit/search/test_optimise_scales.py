"""Ranges of all activations by each method."""

from dataclasses import replace

import numpy as np
import pytest
from distributions import binned, draw, histogram_of, noise

from stablequant.quantization.histograms import Histogram, load_histograms, save_histograms
from stablequant.quantization.int8 import Carried, Range
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.ranges import entropy_amax, percentile_range
from stablequant.search.optimise_scales import COLUMNS, optimise_scales


@pytest.fixture(scope="module")
def histograms() -> dict[str, Histogram]:
    return {"cnn02": binned(draw("heavy-tailed")[::20], 0.05), "head": binned(draw("normal")[::20], 0.01)}


def test_methods_differ_as_described(histograms):
    def ranges(method):
        return optimise_scales(histograms, method, 99.0, {"cnn02": 99.0}).set_index("activation")

    maximum, uniform, mse, ours = (ranges(m) for m in ("max", "percentile", "mse", "stablequant"))
    assert maximum.loc["cnn02", "amax"] == histograms["cnn02"].amax
    assert (maximum["scale"] * 127).tolist() == pytest.approx(maximum["amax"].tolist())
    assert uniform.loc["head", "amax"] < mse.loc["head", "amax"] < maximum.loc["head", "amax"]
    assert ours.loc["cnn02", "amax"] <= uniform.loc["cnn02", "amax"]
    assert ours.loc["head"].equals(mse.loc["head"])
    assert ours["percentile"].to_dict() == {"cnn02": 99.0, "head": 100.0}


def rows(histograms: dict[str, Histogram], method: str, percentiles: dict[str, float]) -> dict[str, dict]:
    table = optimise_scales(histograms, method, 99.0, percentiles)
    assert list(table.columns) == COLUMNS
    return table.set_index("activation").to_dict("index")


def row(layer: str, percentile: float, chosen: Range) -> dict:
    return {
        "layer": layer,
        "percentile": percentile,
        "low": chosen.low,
        "high": chosen.high,
        "amax": chosen.amax,
        "centre": chosen.centre,
        "scale": chosen.scale,
        "split": chosen.split,
        "zero_level": chosen.zero_level,
        "carried": [],
        "carried_amax": 0.0,
    }


def test_each_row_is_the_methods_range_and_says_where_it_was_clipped():
    """Signed, split and plain histograms; two tensors of one layer share its cut-off."""
    magnitudes = binned(draw("normal")[::60], 0.02)
    signed = binned(draw("post-gelu")[::60], 0.1, signed=True)
    audio = Histogram(magnitudes.counts, magnitudes.edges, split=True)
    histograms = {"cnn01": audio, "block.in": magnitudes, "block.out": signed, "head": signed}
    cut = {"cnn01": 100.0, "block": 98.0}
    found = rows(histograms, "stablequant", cut)
    for name, layer, percentile in (
        ("cnn01", "cnn01", 100.0),
        ("block.in", "block", 98.0),
        ("block.out", "block", 98.0),
        ("head", "head", 100.0),
    ):
        assert found[name] == row(layer, percentile, mse_range(histograms[name], percentile)), name
    assert found["cnn01"]["split"] and not found["head"]["split"]
    assert found["block.out"]["centre"] != 0
    assert found["block.out"]["high"] < found["head"]["high"], "a layer without a cut-off is not clipped"
    for name, chosen in rows(histograms, "percentile", cut).items():
        assert chosen == row(name.split(".")[0], 99.0, percentile_range(histograms[name], 99.0)), name
    for name, chosen in rows(histograms, "mse", cut).items():
        assert chosen == row(name.split(".")[0], 100.0, mse_range(histograms[name])), name
    (chosen,) = rows({"block.in": magnitudes}, "entropy", cut).values()
    assert chosen == row("block", 100.0, Range.symmetric(entropy_amax(magnitudes)))


def test_a_row_gives_back_its_range():
    relu = histogram_of(noise(1000).astype(np.float32).clip(min=0), signed=True)
    for histogram in (relu, binned(draw("normal")[::60], 0.02), binned(draw("post-gelu")[::60], 0.1, signed=True)):
        (chosen,) = rows({"head": histogram}, "mse", {}).values()
        assert Range.of_row(chosen) == mse_range(histogram)
    assert mse_range(relu).zero_level


def test_an_unknown_method_is_refused(histograms):
    with pytest.raises(ValueError) as error:
        optimise_scales(histograms, "minmax", 99.0, {})
    assert str(error.value) == "unknown method minmax"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("method", ["max", "percentile", "mse", "stablequant"])
def test_a_range_keeps_the_carried_channels_and_never_clips_them(method, signed, tmp_path):
    """From the histogram's file to a row of the table, and back."""
    counted = binned(draw("post-gelu")[::60], 0.1, signed=signed)
    carried = Carried((2, 17), 83.25)
    save_histograms(tmp_path / "h.safetensors", {"block.in": replace(counted, carried=carried), "block.out": counted})
    histograms = load_histograms(tmp_path / "h.safetensors")
    found = rows(histograms, method, {"block": 98.0})
    chosen, plain = Range.of_row(found["block.in"]), Range.of_row(found["block.out"])
    assert plain.carried is None
    assert chosen == replace(plain, carried=carried)
    assert chosen.carried.range == Range.symmetric(83.25, split=True)
