"""Files of weights that were rounded before."""

import numpy as np
from distributions import noise

from stablequant.quantization.int8 import quantize_weight
from stablequant.quantization.int8_weights import RoundedFile, save_rounded


def test_a_file_gives_back_what_was_saved(tmp_path):
    weights = {"a.b": quantize_weight(noise(4, 3)), "head": quantize_weight(noise(2, 3, 5))}
    for saved in (weights, {}):
        save_rounded(tmp_path / "weights.safetensors", saved)
        found = RoundedFile(tmp_path / "weights.safetensors")
        assert found.keys() == saved.keys()
        for name, (levels, scales) in saved.items():
            assert np.array_equal(found[name][0], levels)
            assert np.array_equal(found[name][1], scales)
            assert found[name][0].dtype == np.int8


def test_no_other_modules_weights_are_read_than_asked_for(tmp_path):
    names = ["encoder.1.q", "encoder.10.q", "encoder.1.q.inner"]
    save_rounded(tmp_path / "weights.safetensors", {name: quantize_weight(noise(4, 3)) for name in names})
    for wanted in (["encoder.1.q"], ["encoder.10.q", "not.there"], []):
        assert RoundedFile(tmp_path / "weights.safetensors", wanted).keys() == {*names} & {*wanted}
