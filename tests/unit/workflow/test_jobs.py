"""What a job says when it ends: a sentence where the machine or the data is at fault, else a trace."""

import subprocess
import sys

import pytest
from conftest import PROJECT

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
    assert "done in" not in log
