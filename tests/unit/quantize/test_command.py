"""What is told of runs that are finished."""

import pytest
from run_results import FP32, INT8, write_results

from stablequant.errors import StableQuantError
from stablequant.quantize.command import report
from stablequant.storage.files import write_json


def told(folder, acceptable) -> str:
    lines: list[str] = []
    report(folder, None, acceptable, lines.append)
    return "\n".join(lines)


def test_the_verdict_is_by_the_loss_that_was_acceptable_to_the_run_unless_another_is_named(tmp_path):
    results = tmp_path / "results/demo"
    results.mkdir(parents=True)
    write_results(results, FP32, INT8)
    (results / "bundle").mkdir()
    write_json(results / "bundle/quantization.json", {"note": "", "acceptable_loss": 0.4})
    assert "not proven safe" in told(tmp_path, None) and "a loss of more than 0.4 points" in told(tmp_path, None)
    assert "safe to deploy: " in told(tmp_path, 1.0) and "up to 1 point counts as acceptable" in told(tmp_path, 1.0)


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(StableQuantError, match=r"no finished run in it .*; give the folder that was --out"):
        report(tmp_path, None, None, print)
