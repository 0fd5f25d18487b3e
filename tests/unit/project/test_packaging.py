"""The wheel holds the workflow."""

import tomllib

from checkout import PROJECT
from projects import copy_project


def test_the_wheel_holds_all_that_the_workflow_needs(tmp_path):
    built = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    held = built["force-include"]
    assert all(target == f"stablequant/project/{name}" for name, target in held.items())
    needed = {path.name for path in copy_project(tmp_path / "project").iterdir()} - {"stablequant", "benchmarks"}
    assert needed == held.keys()
    assert built["packages"] == ["stablequant"]
