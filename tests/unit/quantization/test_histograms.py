"""Histograms and their file."""

import numpy as np
import pytest
from distributions import evenly

from stablequant.errors import StableQuantError
from stablequant.quantization.histograms import (
    TINIEST,
    UNCLIPPED,
    Histogram,
    load_histograms,
    mirrored,
    save_histograms,
)

UNEVEN = Histogram(np.array([4, 0, 2]), np.array([-2.0, -1, 1, 5]), signed=True)


def test_ends_by_hand():
    assert (UNEVEN.low, UNEVEN.high, UNEVEN.amax, UNEVEN.total, UNEVEN.zeros) == (-2, 5, 5, 6, 0)
    turned = mirrored(UNEVEN)
    assert (turned.low, turned.high, turned.amax, turned.signed, turned.split) == (-5, 2, 5, True, False)
    assert (turned.counts.tolist(), turned.edges.tolist()) == ([2, 0, 4], [-5, -1, 1, 2])
    assert mirrored(Histogram(np.array([1]), np.array([0.0, 1]), split=True)).split
    assert UNCLIPPED == 100


def test_exact_zeros_have_a_bin_of_their_own():
    dead = Histogram(np.array([7]), np.array([0, TINIEST]))
    assert (dead.low, dead.high, dead.amax, dead.zeros, dead.total) == (0, 0, 0, 7, 7)
    some = Histogram(np.array([3, 5, 1]), np.array([-1, 0, TINIEST, 0.5]), signed=True)
    assert (some.zeros, some.total) == (5, 9)
    assert evenly(np.array([3, 5]), 1.0).zeros == 0, "other values than 0 lie in the bin from 0"
    assert np.nextafter(np.float32(0), np.float32(1)) == TINIEST


def test_sums_below_by_hand():
    """Two values of 4 lie below -1.5; the other 2 are spread from 1 to 5, one of them below 3."""
    limits = np.array([-9, -2, -1.5, -1, 0, 1, 3, 5, 9])
    assert UNEVEN.below(limits).tolist() == [0, 0, 2, 4, 4, 4, 5, 6, 6]
    assert UNEVEN.below(limits, 1).tolist() == [0, 0, -3.5, -6, -6, -6, -4, 0, 0]
    squares = [0, 0, (8 - 1.5**3) / 3 * 4, 28 / 3, 28 / 3, 28 / 3, 28 / 3 + 13 / 3, 28 / 3 + 124 / 6, 28 / 3 + 124 / 6]
    assert UNEVEN.below(limits, 2).tolist() == pytest.approx(squares)
    assert UNEVEN.below(limits.reshape(3, 3)).shape == (3, 3)


def test_equal_bins_by_hand():
    """A value that might lie in several new bins is counted in one."""
    equal = UNEVEN.rebinned(7)
    assert (equal.counts.tolist(), equal.edges.tolist()) == ([4, 0, 0, 0, 1, 1, 0], [-2, -1, 0, 1, 2, 3, 4, 5])
    assert (equal.signed, equal.split, equal.counts.dtype) == (True, False, np.int64)
    lone = Histogram(np.array([8, 1]), np.array([0.0, 1, 5]), split=True)
    assert lone.rebinned(5).counts.tolist() == [8, 0, 0, 1, 0]
    assert lone.rebinned(10).counts[:2].tolist() == [4, 4]
    assert lone.rebinned(10).total == 9
    assert lone.rebinned(5).split
    late = Histogram(np.array([3]), np.array([2.0, 4])).rebinned(4)
    assert (late.counts.tolist(), late.edges.tolist()) == ([0, 0, 2, 1], [0, 1, 2, 3, 4]), "magnitudes begin at 0"


def test_a_file_gives_back_what_was_saved(tmp_path):
    third = float(np.float32(1 / 3))
    saved = {
        "b/c": Histogram(np.array([3, 1]), np.array([0, 0.5, 1.5])),
        "a": Histogram(np.array([2**40, 0, 1]), np.array([-third, 0, TINIEST, third]), signed=True),
        "c": Histogram(np.array([5]), np.array([0, TINIEST]), split=True),
    }
    save_histograms(tmp_path / "histograms.safetensors", saved)
    found = load_histograms(tmp_path / "histograms.safetensors")
    assert list(found) == sorted(saved)
    for name, histogram in saved.items():
        assert found[name].counts.tolist() == histogram.counts.tolist()
        assert found[name].edges.tolist() == histogram.edges.tolist()
        assert found[name].edges.dtype == np.float64
        assert (found[name].signed, found[name].split) == (histogram.signed, histogram.split)


def test_a_damaged_file_is_refused(tmp_path):
    save_histograms(tmp_path / "h.safetensors", {"a": evenly(np.arange(99), 0.125)})
    content = (tmp_path / "h.safetensors").read_bytes()
    (tmp_path / "h.safetensors").write_bytes(content[:-9])
    with pytest.raises(StableQuantError, match=r"h\.safetensors: damaged or incomplete"):
        load_histograms(tmp_path / "h.safetensors")
