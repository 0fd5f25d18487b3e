"""What a job says when it ends: a sentence where the machine or the data is at fault, else a trace."""

import subprocess
import sys

import pytest
from checkout import PROJECT

JOB = """
import sys; sys.path.insert(0, {project!r})
from stablequant.errors import StableQuantError
from stablequant.workflow.jobs import job
with job({log!r}):
    raise {error}
"""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("OSError(28, 'No space left on device', 'results/a')", "results/a: no space is left on the disk"),
        ("StableQuantError('config.yaml', 'a fault', 'mend it')", "config.yaml: a fault; mend it"),
        ("KeyError('a')", None),
    ],
)
def test_a_job_ends_with_a_sentence_or_a_trace(tmp_path, error, sentence):
    script = JOB.format(project=str(PROJECT), log=str(tmp_path / "job.log"), error=error)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    log = (tmp_path / "job.log").read_text()
    assert ("Traceback" in log) == (sentence is None)
    assert (sentence or "the job failed") in log
    assert (sentence or "the job failed") in done.stderr
    assert "done in" not in log


WORK = """
import logging, sys, warnings; sys.path.insert(0, {project!r})
from stablequant.progress import progress
from stablequant.workflow.jobs import job
with job({log!r}) as log:
    for _ in progress(range(3), label="working"):
        warnings.warn("a library's", stacklevel=1)
    log.info("finer points")
    log.warning("look at this")
"""


def test_details_and_progress_are_in_the_log_and_warnings_on_the_terminal_too(tmp_path):
    script = WORK.format(project=str(PROJECT), log=str(tmp_path / "job.log"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: look at this\n"
    lines = (tmp_path / "job.log").read_text().splitlines()
    assert any(line.startswith("working: 100%") for line in lines)
    assert any("a library's" in line for line in lines)
    assert next(line.split(" INFO ")[1] for line in lines if " INFO " in line) == "finer points"
    assert " INFO done in " in lines[-1] and lines[-1][:2] == "20", "the report reads when jobs ended"
