"""Whoever only looks at the workflow changes nothing, and loads nothing heavy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, snakemake

LOOKS = [
    ["--dry-run"],
    ["-n", "--quiet", "all"],
    ["--rulegraph"],
    ["--dag"],
    ["--filegraph"],
    ["--summary"],
    ["--detailed-summary"],
    ["--lint"],
    ["--list-rules"],
    ["--list-changes", "code"],
    ["--list-changes", "params"],
    ["--report", "../report.html"],
]
HEAVY = ("torch", "transformers", "onnx", "onnx_ir", "openvino", "matplotlib")


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file and folder but what Snakemake and Python keep for themselves."""
    own = {".snakemake", "__pycache__"}
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not own & set(path.relative_to(folder).parts)
    }


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look[0])
def test_looking_changes_no_file_and_no_time(project, look):
    """Although results are dated ahead, as after a clock was set back, which a run would mend."""
    for path in (project / "results").rglob("*"):
        os.utime(path, ns=(path.stat().st_mtime_ns + 7200 * 10**9,) * 2)
    before = state(project)
    snakemake(project, *look)
    assert state(project) == before


PARSE = """
import sys
sys.argv = ["snakemake", "--dry-run", "--cores", "1", "--quiet", "all"]
from snakemake.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("LOADED", *(name for name in {heavy!r} if name in sys.modules))
"""


def test_nothing_heavy_is_loaded_while_the_workflow_is_planned(project):
    done = subprocess.run(
        [sys.executable, "-c", PARSE.format(heavy=HEAVY)], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].strip() == "LOADED", done.stdout


ENGINE = """
import sys
from pathlib import Path
from stablequant.engines.running import load_engine
from stablequant.recognisers.registry import family_of
import stablequant.bundle.transcribe
folder = Path(sys.argv[1])
family_of(folder).decoder(folder, load_engine(folder, 1).networks)
print("LOADED", *(name for name in ("torch", "transformers") if name in sys.modules))
"""


def test_an_engines_process_loads_no_torch(finished):
    folder = finished / "results/tiny/engines/openvino/stablequant"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", ENGINE, str(folder)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "LOADED"
