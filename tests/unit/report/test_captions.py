"""Numbers as captions state them."""

import pandas as pd
import pytest

from stablequant.report import captions


@pytest.mark.parametrize(
    ("row", "points", "expected"),
    [
        ({"degradation": 0.5, "ci_low": 0.1, "ci_high": 0.9}, "degradation", "0.50 (0.10 to 0.90)"),
        ({"degradation": "0.126", "ci_low": "-1.5", "ci_high": "12.344"}, "degradation", "0.13 (-1.50 to 12.34)"),
        ({"degradation": -0.001, "ci_low": -0.004, "ci_high": 0.0}, "degradation", "0.00 (0.00 to 0.00)"),
        (
            {"degradation": 7, "ci_low": 7, "ci_high": 7, "behind": 1, "behind_low": 0.5, "behind_high": 1.5},
            "behind",
            "1.00 (0.50 to 1.50)",
        ),
    ],
)
def test_points_have_two_decimals_and_their_interval(row, points, expected):
    assert captions.with_interval(row, points) == expected
    assert captions.with_interval(pd.Series(row), points) == expected, "a row that pandas read"
