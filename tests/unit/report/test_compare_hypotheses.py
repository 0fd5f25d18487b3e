"""Hypotheses that quantization changed, side by side with fp32's."""

import pandas as pd
import pytest

from stablequant.report.compare_hypotheses import changed_hypotheses, count_changes, marked


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("A B C", "A B C", "A B C"),
        ("A B C", "A X C", "A [B -> X] C"),
        ("A B C", "A C", "A [- B] C"),
        ("A C", "A B C D", "A [+ B] C [+ D]"),
        ("A B", "", "[- A B]"),
        ("", "A B", "[+ A B]"),
        ("", "", ""),
    ],
)
def test_differences_are_marked(before, after, expected):
    assert marked(before, after) == expected


def table(*hypotheses: str) -> pd.DataFrame:
    rows = [(f"u{i}", "THE CAT SAT", hypothesis) for i, hypothesis in enumerate(hypotheses)]
    return pd.DataFrame(rows, columns=["utterance", "transcript", "hypothesis"])


def test_only_what_changed_on_the_same_backend_is_listed():
    tables = {
        ("openvino", "fp32"): table("THE CAT SAT", "THE CAT SAD", "CAT"),
        ("openvino", "max"): table("THE CAT SAT", "THE CAT SAT", "BAT"),
        ("openvino", "stablequant"): table("THE CAT SAT", "THE CAT SAD", "CAT"),
        ("tensorrt-rtx", "fp32"): table(),
        ("tensorrt-rtx", "max"): table(),
    }
    found = changed_hypotheses(tables)
    assert found[["backend", "method", "utterance"]].to_numpy().tolist() == [
        ["openvino", "max", "u1"],
        ["openvino", "max", "u2"],
    ]
    assert found["changes"].tolist() == ["THE CAT [SAD -> SAT]", "[CAT -> BAT]"]
    assert found[["fp32_errors", "errors"]].to_numpy().tolist() == [[1, 0], [2, 3]]
    assert list(count_changes(found)) == [("openvino", "max", 2, 1, 1)]


def test_a_backend_without_fp32_lists_nothing():
    assert changed_hypotheses({("openvino", "max"): table("A")}).empty
