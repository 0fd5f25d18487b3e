"""What OpenVINO compiled is used again where it is right, and a folder that is not fit for it costs time only."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from distributions import noise
from openvino import opset13 as ops

from stablequant.engines import openvino
from stablequant.engines.precision import FLOAT32, INT8

WIDTH = 64
INPUT = noise(3, WIDTH).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A product of INT8 numbers, on disk."""
    values, bounds = ops.parameter([-1, WIDTH], ov.Type.f32), [np.float32(-4), np.float32(4 * 127 / 128)]
    quantized = ops.fake_quantize(values, *bounds, *bounds, 256)
    levels = np.random.default_rng(0).integers(-20, 20, (WIDTH, WIDTH), dtype=np.int8)
    weight = ops.multiply(ops.convert(ops.constant(levels), ov.Type.f32), ops.constant(np.full((WIDTH, 1), 0.01, "f4")))
    file = tmp_path_factory.mktemp("network") / "model.xml"
    openvino.save(ov.Model([ops.matmul(quantized, weight, False, True)], [values], "product"), file)
    return file


def loaded(network: Path, cache: Path | None = None) -> tuple[ov.CompiledModel, str]:
    return openvino.compile_network(ov.Core().read_model(network), 1, FLOAT32, cache)


def is_cached(compiled: ov.CompiledModel) -> bool:
    return bool(compiled.get_property("LOADED_FROM_CACHE"))


def test_what_was_compiled_with_other_settings_is_not_taken(network, tmp_path, monkeypatch):
    """The same graph on the same CPU: first with INT8 kernels, then without."""
    monkeypatch.setattr(openvino, "int8_kernels_are_exact", lambda: True)
    assert loaded(network, tmp_path)[1] == INT8
    monkeypatch.setattr(openvino, "int8_kernels_are_exact", lambda: False)
    found = [loaded(network, tmp_path) for _ in range(2)]
    assert [(is_cached(compiled), arithmetic) for compiled, arithmetic in found] == [(False, FLOAT32), (True, FLOAT32)]
    kernels = [
        node.get_rt_info()["primitiveType"].astype(str)
        for compiled, _ in found
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) in openvino.PRODUCTS
    ]
    assert len(kernels) == 2 and all(kernel.lower().endswith("f32") for kernel in kernels)


def test_callers_that_load_at_once_compile_once(network, tmp_path):
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda _: loaded(network, tmp_path)[0], range(4)))
    assert sorted(map(is_cached, found)) == [False, True, True, True]
    expected = loaded(network)[0]([INPUT])[0]
    assert all(np.array_equal(compiled([INPUT])[0], expected) for compiled in found)


@pytest.mark.parametrize("place", ["file", "file/cache"])
def test_a_cache_that_cannot_be_a_folder_is_left_out(network, tmp_path, caplog, place):
    (tmp_path / "file").touch()
    compiled, _ = loaded(network, tmp_path / place)
    assert f"{tmp_path / place}: cannot be used as a cache (" in caplog.text
    assert caplog.text.rstrip().endswith("Give a folder of your own")
    assert np.array_equal(compiled([INPUT])[0], loaded(network)[0]([INPUT])[0])


def test_half_of_a_file_is_written_again(network, tmp_path):
    loaded(network, tmp_path)
    (blob,) = tmp_path.rglob("*.blob")
    whole = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(whole[: len(whole) // 2])
    compiled, _ = loaded(network, tmp_path)
    assert not is_cached(compiled)
    assert is_cached(loaded(network, tmp_path)[0])
    assert np.array_equal(compiled([INPUT])[0], loaded(network)[0]([INPUT])[0])
