"""The Dockerfiles, as far as they can be tested without a Docker engine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import PROJECT

DOCKERFILES = sorted((PROJECT / "docker").glob("*.Dockerfile"))


def instructions(file: Path) -> list[tuple[str, str]]:
    """``(instruction, rest)``, continued lines joined, comments left out."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line.strip()]


def test_there_is_one_for_each_kind_of_machine():
    assert [file.stem for file in DOCKERFILES] == ["cpu", "tensorrt"]
    bases = {file.stem: dict(instructions(file))["FROM"] for file in DOCKERFILES}
    assert re.fullmatch(r"debian:12-slim", bases["cpu"])
    assert re.fullmatch(r"nvcr\.io/nvidia/tensorrt:\d\d\.\d\d-py3", bases["tensorrt"])


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_its_commands_are_the_readmes(dockerfile):
    assert ("CMD", '["make", "run"]') in instructions(dockerfile)
    readme = (PROJECT / "README.md").read_text()
    usage = dockerfile.read_text().partition("\nFROM")[0]
    for command in ("make run", "make test"):
        assert command in readme
        assert command in usage
    for preset in re.findall(r"presets/[\w-]+\.yaml", usage):
        assert (PROJECT / preset).is_file()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_debian_has_its_packages(dockerfile):
    lines = [rest for name, rest in instructions(dockerfile) if name == "RUN" and "apt-get install" in rest]
    assert lines
    if shutil.which("apt-get") is None or not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        pytest.skip("no apt with package lists")
    for line in lines:
        packages = re.search(r"apt-get install --yes (.*?) &&", line)[1].split()
        done = subprocess.run(
            ["apt-get", "install", "--simulate", *packages], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert "make" in packages


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_what_is_copied_first_is_all_that_the_installation_needs(dockerfile, tmp_path):
    steps = instructions(dockerfile)
    first = next(rest.split()[:-1] for name, rest in steps if name == "COPY")
    for name in first:
        shutil.copyfile(PROJECT / name, tmp_path / name)
    run = [rest for name, rest in steps if name == "RUN" and rest.startswith("make ")]
    assert run == ["make .venv/installed"]
    done = subprocess.run(
        [*run[0].split(), "--dry-run"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "requirements.lock" in done.stdout
