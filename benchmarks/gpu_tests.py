"""The part `tests` of `gpu.py`: those that need a GPU."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from project import PROJECT
from gpu import FOLDER
from gpu_setting import row


def tests() -> Iterator[dict]:
    """The tests that compare the search on a GPU with the CPU."""
    written = FOLDER / "tests.xml"
    written.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={written}"]
    subprocess.run([*command, "tests/unit/search/test_gpu.py"], cwd=PROJECT, check=False)
    cases = list(ElementTree.parse(written).iter("testcase"))
    if not cases:
        raise RuntimeError("no test ran")
    for case in cases:
        faults = [child.get("message", "") for child in case if child.tag in ("failure", "error")]
        if faults:
            yield {"case": case.get("name"), "error": " ".join(faults[0].split())}
        else:
            yield row(str(case.get("name")), "test", "passed" if case.find("skipped") is None else "skipped")
