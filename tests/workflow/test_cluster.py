"""What jobs ask for, seen in a dry run with the profile for Slurm."""

import re
from pathlib import Path

import pytest
from projects import write_tiny_project
from running import snakemake

from stablequant.workflow.resources import has_gpu


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Its checkpoint is imported, so that a dry run knows the jobs of all layers."""
    folder = write_tiny_project(tmp_path_factory.mktemp("project"))
    snakemake(folder, "results/tiny/layers.tsv")
    return folder


def rules_with_gpu(folder: Path, device: str) -> set[str]:
    targets = ["results/tiny/percentiles/cnn01.json", "results/tiny/comparison.tsv"]
    printed = snakemake(
        folder, "--dry-run", "--workflow-profile", "profiles/slurm", "--config", f"device={device}", "--", *targets
    )
    blocks = re.findall(r"^rule (\w+):\n((?:    .*\n)+)", printed, re.M)
    assert {"search_percentile", "evaluate_engine"} <= {rule for rule, _ in blocks}
    return {rule for rule, block in blocks if re.search(r"resources: .*\bgpu=1\b", block)}


def test_a_gpu_is_asked_for_by_the_rules_that_compute_on_it(project):
    torch_rules = {"equalise_channels", "choose_massive_channels", "round_weights", "recognise_reference"}
    torch_rules |= {"probe_layer", "search_percentile"}
    assert rules_with_gpu(project, "cuda") == torch_rules | {"check_combination"}


def test_an_engine_is_judged_on_all_cores_unless_it_cannot_run_here(project):
    if has_gpu():
        pytest.skip("this machine has a GPU")
    backends = ("openvino", "tensorrt-rtx")
    targets = [f"results/tiny/evaluation/{backend}/fp32.json" for backend in backends]
    printed = snakemake(project, "-n", "--config", f"engines=[{','.join(backends)}]", "--", *targets)
    blocks = re.findall(r"^rule evaluate_engine:\n((?:    .*\n)+)", printed, re.M)
    threads = {re.search(r"backend=([\w-]+)", block)[1]: re.findall(r"threads: (\d+)", block) for block in blocks}
    assert threads == {"openvino": ["2"], "tensorrt-rtx": []}


def test_no_gpu_is_asked_for_on_the_cpu(project):
    assert rules_with_gpu(project, "cpu") == set()
