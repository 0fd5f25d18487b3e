"""The whole demo through a real Slurm, by the side of the local run that lies in the project's results."""

import shutil

import pytest
from checkout import PROJECT
from one_node import one_node_slurm
from projects import copy_project
from running import snakemake
from through_slurm import adapt_profile, assert_same_results

pytestmark = pytest.mark.slurm_demo


def test_the_demo_gives_the_results_of_a_local_run(tmp_path):
    folder = copy_project(tmp_path / "project")
    for name in ("resources/demo", "tsv"):
        shutil.copytree(PROJECT / name, folder / name)
    adapt_profile(folder / "profiles/slurm/config.yaml")
    (tmp_path / "slurm").mkdir()
    with one_node_slurm(tmp_path / "slurm"):
        snakemake(folder, "--workflow-profile", "profiles/slurm", minutes=60)
    assert_same_results(folder / "results/demo", PROJECT / "results/demo")
