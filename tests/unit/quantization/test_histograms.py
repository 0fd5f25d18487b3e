"""Histograms and their file."""

import numpy as np
import pytest

from stablequant.errors import StableQuantError
from stablequant.quantization.histograms import UNCLIPPED, Histogram, load_histograms, save_histograms


def test_edges_by_hand():
    counts = np.array([3, 1, 2])
    magnitudes = Histogram(counts, 0.5, 1.4)
    assert (magnitudes.signed, magnitudes.start, magnitudes.split) == (False, 0, False)
    assert magnitudes.edges.tolist() == [0, 0.5, 1, 1.5]
    signed = Histogram(counts, 0.5, 1.0, first=-2)
    assert (signed.signed, signed.start) == (True, -2)
    assert signed.edges.tolist() == [-1, -0.5, 0, 0.5]
    assert Histogram(counts, 0.5, 1.0, first=0).signed
    assert UNCLIPPED == 100


def test_a_file_gives_back_what_was_saved(tmp_path):
    saved = {
        "b/c": Histogram(np.array([3, 1]), 0.1, 0.15),
        "a": Histogram(np.array([2**40, 0, 1]), 1 / 3, 2.0, first=-2),
        "c": Histogram(np.array([5]), 0.0, 0.0, first=0, split=True),
    }
    save_histograms(tmp_path / "histograms.safetensors", saved)
    found = load_histograms(tmp_path / "histograms.safetensors")
    assert list(found) == sorted(saved)
    for name, histogram in saved.items():
        assert found[name].counts.tolist() == histogram.counts.tolist()
        assert vars(found[name]) | {"counts": None} == vars(histogram) | {"counts": None}


def test_a_damaged_file_is_refused(tmp_path):
    save_histograms(tmp_path / "h.safetensors", {"a": Histogram(np.arange(99), 0.1, 9.9)})
    content = (tmp_path / "h.safetensors").read_bytes()
    (tmp_path / "h.safetensors").write_bytes(content[:-9])
    with pytest.raises(StableQuantError, match=r"h\.safetensors: damaged or incomplete"):
        load_histograms(tmp_path / "h.safetensors")
