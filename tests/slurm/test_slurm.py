"""The whole DAG through a real Slurm that kills a job and drains its node meanwhile."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from one_node import drain, jobs, one_node_slurm, resume, slurm, wait_until
from projects import write_tiny_project
from running import snakemake
from through_slurm import adapt_profile, assert_same_results

pytestmark = pytest.mark.slurm

# A job is told by the rule and wildcards that the plugin writes into its comment.
PROBE = "rule_probe_layer_"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = write_tiny_project(tmp_path_factory.mktemp("project") / "tiny", num_hidden_layers=1)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | {"threshold": 50}))  # a few searches, not all
    return folder


@pytest.fixture(scope="module")
def local_results(project) -> Path:
    """The results of a run on this machine without Slurm."""
    folder = project.with_name("local")
    shutil.copytree(project, folder)
    snakemake(folder)
    return folder / "results/tiny"


@pytest.fixture(scope="module")
def submitted(project, local_results, tmp_path_factory) -> list[dict[str, str]]:
    """All jobs of one eventful run: a running probe is cancelled, the node is drained and later resumed."""
    adapt_profile(project / "profiles/slurm/config.yaml")
    with one_node_slurm(tmp_path_factory.mktemp("slurm")):
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm"]
        with (
            (project / "snakemake.log").open("w") as log,
            subprocess.Popen(command, cwd=project, stdout=log, stderr=subprocess.STDOUT) as run,
        ):

            def while_it_runs(holds: Callable[[], object], what: str) -> None:
                wait_until(lambda: holds() or run.poll() is not None, 300, what)
                assert run.poll() is None, (project / "snakemake.log").read_text()

            try:
                while_it_runs(lambda: in_state("RUNNING", PROBE), "a running probe")
                slurm(f"scancel {in_state('RUNNING', PROBE)[0]['JobId']}")
                while_it_runs(lambda: in_state("COMPLETED", PROBE), "a finished probe")
                drain()
                while_it_runs(lambda: not in_state("RUNNING") and in_state("PENDING"), "the node to be empty")
                resume()
                assert run.wait(600) == 0, (project / "snakemake.log").read_text()
            finally:
                run.kill()  # if it still runs; its jobs end with their Slurm
        return jobs()


def in_state(state: str, comment: str = "rule_") -> list[dict[str, str]]:
    return [job for job in jobs() if job["JobState"] == state and job["Comment"].startswith(comment)]


def test_results_are_those_of_a_local_run(submitted, project, local_results):
    assert_same_results(project / "results/tiny", local_results)


def test_the_cancelled_probe_was_submitted_anew_with_more_of_everything(submitted):
    (cancelled,) = (job for job in submitted if job["JobState"] == "CANCELLED")
    (anew,) = (job for job in submitted if job["Comment"] == cancelled["Comment"] and job is not cancelled)
    assert anew["JobState"] == "COMPLETED"
    assert megabytes(anew) == 2 * megabytes(cancelled)
    assert pd.Timedelta(anew["TimeLimit"]) == 2 * pd.Timedelta(cancelled["TimeLimit"])


def megabytes(job: dict[str, str]) -> int:
    return int(job["MinMemoryNode"].removesuffix("M"))


def test_no_finished_job_ran_twice(submitted):
    completed = Counter(job["Comment"] for job in submitted if job["JobState"] == "COMPLETED")
    assert set(completed.values()) == {1}
    assert {job["JobState"] for job in submitted} == {"COMPLETED", "CANCELLED"}


def test_only_the_rule_that_wants_a_gpu_asked_for_one(submitted):
    wanted = {job["Comment"] for job in submitted if "gpu" in job.get("TresPerJob", "")}
    assert wanted == {job["Comment"] for job in submitted if job["Comment"].startswith(PROBE)}


def test_gathering_was_not_submitted(submitted):
    submitted_rules = {job["Comment"].split("_wildcards")[0].removeprefix("rule_") for job in submitted}
    assert submitted_rules >= {"import_checkpoint", "probe_layer", "search_percentile", "evaluate_engine"}
    assert not submitted_rules & {"select_layers", "compare", "plot_sensitivity"}


def test_what_slurm_said_is_kept(submitted, project):
    assert (
        len(list((project / "logs/slurm").rglob("*.log"))) >= len(submitted) - 1
    )  # the cancelled job may not have begun
