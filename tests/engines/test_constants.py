"""OpenVINO's files hold no table twice, and in half precision what it holds exactly."""

from pathlib import Path

import numpy as np
import openvino as ov
from distributions import noise
from openvino import opset13 as ops

from stablequant.engines.openvino import save
from stablequant.engines.openvino_constants import halve_constants, share_tables

CLASSES, WIDTH = 300, 32
TOKENS = np.array([[6, 0, 299], [3, 3, 1]])


def reading_and_writing(table: np.ndarray, weight: np.ndarray) -> ov.Model:
    """Looks tokens up in ``table`` ``(classes, width)``, and multiplies by ``weight`` ``(width, classes)``."""
    tokens = ops.parameter([-1, -1], ov.Type.i64, name="tokens")
    rows = ops.gather(ops.constant(table), tokens, ops.constant(np.int64(0)))
    product = ops.matmul(rows, ops.constant(weight), False, False)
    product.set_friendly_name("head")
    return ov.Model([product], [tokens], "tied")


def compute(model: ov.Model) -> np.ndarray:
    return ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([TOKENS])[0]


def written(model: ov.Model, folder: Path) -> tuple[ov.Model, int]:
    """The model read back, and the bytes of its weights."""
    save(model, folder / "model.xml")
    return ov.Core().read_model(folder / "model.xml"), (folder / "model.bin").stat().st_size


def test_a_product_reads_the_table_of_an_embedding(tmp_path):
    table = noise(CLASSES, WIDTH).astype(np.float32)
    model = reading_and_writing(table, np.ascontiguousarray(table.T))
    expected = compute(model)
    share_tables(model)
    back, size = written(model, tmp_path)
    assert table.nbytes <= size < 1.1 * table.nbytes
    assert np.abs(compute(back) - expected).max() < 1e-4
    assert any(node.get_friendly_name() == "head" for node in back.get_ops())


def test_another_weight_stays(tmp_path):
    table = noise(CLASSES, WIDTH).astype(np.float32)
    other = np.ascontiguousarray(table.T)
    other[0, 0] += 1
    model = reading_and_writing(table, other)
    expected = compute(model)
    share_tables(model)
    back, size = written(model, tmp_path)
    assert size >= 2 * table.nbytes
    assert np.array_equal(compute(back), expected)


def test_what_half_precision_holds_is_stored_in_it_and_no_number_changes(tmp_path):
    halves = noise(CLASSES, WIDTH).astype(np.float16).astype(np.float32)
    fine = np.ascontiguousarray(noise(WIDTH, CLASSES).astype(np.float32))
    assert not np.array_equal(fine, fine.astype(np.float16))
    model = reading_and_writing(halves, fine)
    expected = compute(model)
    halve_constants(model)
    back, size = written(model, tmp_path)
    assert halves.nbytes // 2 + fine.nbytes <= size < halves.nbytes + fine.nbytes
    assert np.array_equal(compute(back), expected)


def test_numbers_that_half_precision_cannot_reach_stay():
    large = np.full((CLASSES, WIDTH), 70_000, dtype=np.float32)
    model = reading_and_writing(large, np.ascontiguousarray(large.T) * np.float32(1e-9))
    expected = compute(model)
    halve_constants(model)
    assert np.array_equal(compute(model), expected)
