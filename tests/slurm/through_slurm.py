"""A run through the Slurm of one node: the profile as its user would adapt it, and what a local run must agree with."""

from pathlib import Path

import pandas as pd
import yaml
from one_node import PARTITION

from stablequant.engines.time_engines import SPEEDS

TIMED = ["wall_seconds", *SPEEDS]
COMPARED = ("sensitivity.tsv", "percentiles/*.json", "scales/*.json", "onnx/*.onnx", "evaluation/*/*.tsv")


def adapt_profile(file: Path) -> None:
    """What a user edits, and what suits a small machine; the GPU is asked for by a rule whose torch needs none here."""
    profile = yaml.safe_load(file.read_text())
    profile |= {"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 10, "latency-wait": 5}
    profile["default-resources"] = {"slurm_partition": PARTITION}
    alone = ("evaluate_engine", "time_engines")
    profile["set-threads"] |= dict.fromkeys(alone, 2)  # as in the local run that results are compared with
    profile["set-resources"]["probe_layer"] = {"gpu": 1}
    file.write_text(yaml.safe_dump(profile))


def assert_same_results(results: Path, local: Path) -> None:
    """Both folders of a model's results hold the same, timings aside."""
    found, expected = (pd.read_csv(r / "comparison.tsv", sep="\t").drop(columns=TIMED) for r in (results, local))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    for pattern in COMPARED:
        files = [file.relative_to(local) for file in local.glob(pattern)]
        assert files, pattern
        for file in files:
            assert (results / file).read_bytes() == (local / file).read_bytes(), file
