"""The comparison of engines, whatever was judged of them."""

import pandas as pd

from stablequant.engines.folder import EVALUATED
from stablequant.report.compare import compare

BUILT = {"size_bytes": 40, "onnx_bytes": 50, "float_layers": 3, "arithmetic": "float32"}
JUDGED = {"status": EVALUATED, "errors": [1, 0], "words": [4, 6], "audio_seconds": 8.0, "wall_seconds": 2.0}


def test_an_engine_is_compared_with_fp32_of_its_backend():
    quantized = BUILT | JUDGED | {"size_bytes": 10, "errors": [1, 1], "wall_seconds": 1.0}
    table = compare(
        [
            {"backend": "openvino", "method": "fp32", **BUILT, **JUDGED},
            {"backend": "openvino", "method": "max", **quantized},
        ],
        seed=0,
    )
    row = table.iloc[1]
    assert (row["wer"], row["degradation"], row["size_ratio"], row["speedup"]) == (20.0, 10.0, 0.25, 2.0)


def test_an_engine_that_was_judged_without_its_fp32_stands_alone():
    """As where a GPU came later, and only the method that was edited ran again."""
    table = compare(
        [
            {"backend": "tensorrt-rtx", "method": "fp32", **BUILT, "status": "built, not run: no supported GPU"},
            {"backend": "tensorrt-rtx", "method": "max", **BUILT, **JUDGED},
        ],
        seed=0,
    )
    assert table["wer"].tolist()[1] == 10.0
    assert table["size_ratio"].tolist() == [1.0, 1.0]
    assert pd.isna(table["degradation"]).all()
    assert pd.isna(table["speedup"]).all()
