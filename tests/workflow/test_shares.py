"""What jobs take while the whole DAG runs: the threads and the memory that they were given, and no network."""

import re

import pytest
from running import MEMORY_MB

from stablequant.workflow.timeline import read_jobs

WORKING = 0.5  # seconds of processor time from which a thread counts as working
BLOCK = re.compile(r"^(?:\[.*\]\n)?(?:local)?(?:rule|checkpoint) (\w+):\n((?: {4}.*\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def asked(run) -> dict[str, dict[str, int]]:
    """``threads`` and ``mem_mb`` by rule, as Snakemake printed them; rules that it runs itself ask for neither."""
    found: dict[str, dict[str, int]] = {}
    for rule, body in BLOCK.findall(run.printed):
        threads = re.search(r"threads: (\d+)", body)
        memory = re.search(r"mem_mb=(\d+)", body)
        found[rule] = {"threads": int(threads[1]) if threads else 1, "mem_mb": int(memory[1]) if memory else 0}
    assert {"probe_layer", "search_percentile", "evaluate_engine"} <= found.keys(), run.printed
    return found


def test_no_job_works_in_more_threads_than_it_was_given(run, asked):
    for job in run.watched.jobs.values():
        assert job.working_threads(WORKING) <= asked[job.rule]["threads"], (job.rule, job.seconds)
    assert asked["evaluate_engine"]["threads"] == 2
    assert max(job.working_threads(WORKING) for job in run.watched.jobs.values()) >= 1, "nothing was seen to work"


def test_jobs_fit_into_the_memory_that_they_asked_for_alone_and_together(run, asked):
    logged = read_jobs(run.folder / "logs/tiny").groupby("rule")["peak_mb"].max()
    for rule, memory in asked.items():
        if memory["mem_mb"]:
            assert logged[rule] < memory["mem_mb"], rule
    probes = max(job.peak_mb for job in run.watched.jobs.values() if job.rule == "probe_layer")
    assert probes == pytest.approx(logged["probe_layer"], rel=0.25), "logs and kernel disagree"
    assert 0 < run.watched.peak_mb < MEMORY_MB


def test_nothing_needs_a_network(run):
    if not run.isolated:
        pytest.skip("this machine has no network namespaces for us (unshare --map-root-user --net)")
    assert (run.folder / "results/tiny/comparison.tsv").is_file()
