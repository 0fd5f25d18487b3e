"""What the documents and the environments say is what the project does."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from checkout import PROJECT
from write_reference import pages

from stablequant.engines.backend import BACKENDS
from stablequant.recognisers.registry import families
from stablequant.storage.files import read_table
from stablequant.workflow.digest import all_modules

sys.path.insert(0, str(PROJECT / "benchmarks"))
from pictures import PICTURES

DOCUMENTS = [PROJECT / "README.md", PROJECT / "resources/demo/README.md", *(PROJECT / "docs").rglob("*.md")]
LOCKS = sorted(PROJECT.glob("requirements*.lock"))
PRINTS = re.compile(r"`\.venv/bin/python (\S[^`]* --(?:markdown|brief) (benchmarks/\S+\.tsv))`")
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)", re.MULTILINE)


def name_of(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


PINS = [match for file in LOCKS for match in PIN.findall(file.read_text())]
LOCK = {name_of(name): version for name, version, _ in PINS}


def test_environments_pin_what_the_lock_pins():
    for file in (PROJECT / "envs").glob("*.yaml"):
        pins = yaml.safe_load(file.read_text())["dependencies"][-1]["pip"]
        assert pins
        for pin in pins:
            name, version = pin.lower().split("==")
            assert LOCK[name_of(name)] == version, f"{file.name}: {pin}"


def imported_by(script: Path, backends: Iterable[str] = BACKENDS) -> set[str]:
    """Packages that a script and what it imports import when they are loaded, whichever family and backend they use."""
    choices = [{"family": f.name, "backend": BACKENDS[name].module} for f in families() for name in backends]
    modules = set()
    for file in set().union(*(all_modules(script, PROJECT, chosen) for chosen in choices)):
        for node in ast.parse(file.read_text()).body:
            modules |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            modules |= {node.module} if isinstance(node, ast.ImportFrom) else set()
    packages = {name.split(".")[0] for name in modules} - sys.stdlib_module_names - {"stablequant"}
    return {name_of(name) for name in packages}


def test_environments_hold_what_their_rules_import():
    for name, body in jobs().items():
        environment = PROJECT / "envs" / Path(re.search(r"envs/(\w+\.yaml)", body)[1]).name
        pins = yaml.safe_load(environment.read_text())["dependencies"][-1]["pip"]
        missing = imported_by(PROJECT / "scripts" / f"{name}.py") - {name_of(pin.split("==")[0]) for pin in pins}
        assert not missing, f"{name}, {environment.name}"


def test_every_package_is_pinned_once_and_by_its_hashes():
    assert len(LOCK) == len(PINS) > 100
    for name, _, hashes in PINS:
        assert hashes, name
    pinned = sum(file.read_text().count("==") for file in LOCKS)
    assert pinned == len(PINS), "a line that this test does not understand"


def test_the_bill_of_materials_and_the_licences_are_those_of_the_locks():
    bill = json.loads((PROJECT / "docs/sbom.cdx.json").read_text())
    listed = {name_of(c["name"]): c["version"] for c in bill["components"]}
    rows = re.findall(r"^\| (\S+) +\| (\S+) +\| (.+?) +\|$", (PROJECT / "docs/licences.md").read_text(), re.MULTILINE)
    licences = {name_of(name): version for name, version, _ in rows[1:]}
    for own in ("pip", "setuptools"):
        listed.pop(own, None), licences.pop(own, None)
    assert listed == licences == {name: version for name, version in LOCK.items() if name != "setuptools"}


def test_direct_requirements_are_locked():
    for line in (PROJECT / "requirements.in").read_text().splitlines():
        name = re.split(r"[=\s#]", line.strip())[0].lower()
        if name:
            assert name_of(name) in LOCK, name


def test_the_package_requires_what_its_command_imports():
    """What is imported inside functions is optional: torch, a backend's own library, what only the service needs."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    command, required = PROJECT / "stablequant/bundle/cli.py", set(project["dependencies"])
    optional = {name: set(packages) for name, packages in project["optional-dependencies"].items()}
    service = optional["service"] - {"python-multipart"}  # Starlette imports it when a form comes
    known = service | {"snakemake", "yaml"}  # the latter for stablequant quantize
    assert imported_by(command, ["openvino"]) == required | known
    assert imported_by(command, ["onnxruntime"]) == required - {"openvino"} | optional["onnxruntime"] | known


def test_the_references_are_those_of_the_schema_and_of_the_help():
    for name, text in pages().items():
        assert (PROJECT / "docs/reference" / name).read_text() == text, "run: python docs/write_reference.py"


def test_the_readme_is_short_enough_to_be_read():
    lines = (PROJECT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert "make test" in lines or any(line.startswith("make test ") for line in lines)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_table_that_was_measured_is_in_a_document_as_its_command_prints_it():
    printed = set()
    for page in DOCUMENTS:
        text = page.read_text()
        for command, table in set(
            re.findall(r"`\.venv/bin/python (\S[^`]* --(?:markdown|brief) (benchmarks/\S+\.tsv))`", text)
        ):
            run = subprocess.run([sys.executable, *command.split()], cwd=PROJECT, capture_output=True, text=True)
            assert run.returncode == 0, run.stderr
            rows = [line for line in run.stdout.splitlines() if line.startswith("|")]
            assert len(rows) > 2
            assert "\n".join(rows) in text, f"{page.name}: not what {command} prints"
            printed.add(PROJECT / table)
    assert printed == {*(PROJECT / "benchmarks").glob("*.tsv")}


def test_what_the_page_on_whisper_says_of_its_table_is_in_the_table():
    rows = read_table(PROJECT / "benchmarks/whisper.tsv", text=("engine", "method")).set_index(["engine", "method"])
    ours, weights = rows.loc["openvino-genai", "stablequant"], rows.loc["openvino-genai", "int8-weights"]
    said = [
        f"{ours['rtfx'] / rows.loc['openvino-genai', 'bf16']['rtfx']:.2f} times as fast as bfloat16",
        f"{ours['rtfx'] / rows.loc['faster-whisper', 'int8']['rtfx']:.2f} times as fast as faster-whisper in INT8",
        f"StableQuant is {ours['rtfx'] / weights['rtfx']:.2f} times as fast",
        f"the encoder, which is {weights['encoder_seconds'] / ours['encoder_seconds']:.2f} times as fast",
        f"SmoothQuant loses {rows.loc['openvino', 'nncf-smoothquant']['degradation']:.2f} points, and "
        f"{rows.loc['openvino', 'nncf-smoothquant-3-in-float']['degradation']:.2f} with the three tensors",
    ]
    page = " ".join((PROJECT / "docs/how-to/whisper.md").read_text().split())
    assert [sentence for sentence in said if sentence not in page] == []


def test_what_several_callers_gain_is_the_ratio_of_the_speeds_beside_it():
    table = read_table(PROJECT / "benchmarks/callers.tsv", text=("backend", "callers"))
    for _, rows in table.groupby("backend"):
        alone = rows.loc[rows["callers"] == "1", "rtfx"].item()
        assert rows["speedup"].to_numpy() == pytest.approx((rows["rtfx"] / alone).to_numpy(), abs=0.006)


@pytest.mark.parametrize("source", PICTURES)
def test_a_picture_of_the_documents_is_of_its_table(tmp_path, source):
    picture, plot = PICTURES[source]
    if not (PROJECT / source).is_file():
        assert not (PROJECT / picture).exists()
        return
    plot(read_table(PROJECT / source, text=("model", "method")), tmp_path / "picture.svg")
    assert (PROJECT / picture).read_bytes() == (tmp_path / "picture.svg").read_bytes(), "run: benchmarks/pictures.py"


def test_commands_for_whisper_go_on_without_recordings_of_librispeech_longer_than_its_window():
    page = (PROJECT / "docs/how-to/whisper.md").read_text()
    commands = [command for command in re.findall(r"```\n(.*?)```", page, re.DOTALL) if "LibriSpeech" in command]
    presets = sorted((PROJECT / "presets").glob("whisper-*.yaml"))
    assert len(presets) == 3 and all("\nmax_rejected: 0.01 " in preset.read_text() for preset in presets)
    assert len(commands) == 2
    assert all(re.search(r"--set max_rejected=0\.01\b|--configfile presets/whisper-", each) for each in commands)


def test_every_link_of_the_documents_leads_somewhere():
    for file in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)]+)\)", file.read_text()):
            path, _, anchor = target.partition("#")
            page = file.parent / path if path else file
            assert page.exists(), target
            assert not anchor or anchor in anchors(page), target


def jobs() -> dict[str, str]:
    """The text of every rule that makes something, by its name."""
    texts = [file.read_text() for file in (PROJECT / "rules").glob("*.smk")]
    rules = re.findall(r"^(?:rule|checkpoint) (\w+):\n(.*?)(?=^\S|\Z)", "\n".join(texts), re.M | re.S)
    return {name: body for name, body in rules if "output:" in body}


def test_contracts_of_imports_name_every_module_that_they_are_about():
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = {found["name"]: found for found in contracts}
    reached = contract["Families are reached through the registry only"]
    named, forbidden = set(reached["source_modules"]), set(reached["forbidden_modules"])
    folder, own = PROJECT / "stablequant/recognisers", {f"stablequant.recognisers.{f.name}" for f in families()}
    assert named >= {f"stablequant.recognisers.{f.stem}" for f in folder.glob("[!_]*.py")}
    assert forbidden == own | {"stablequant.recognisers.ctc"}
    assert set(contract["Families do not know each other"]["modules"]) == own
    without_torch = set(contract["No torch in the process of an engine"]["source_modules"])
    assert without_torch >= {f"{name}.family" for name in own - {"stablequant.recognisers.whisper"}}
    backends = contract["Backends are reached through their dictionary only"]
    modules = {registered.module for registered in BACKENDS.values()}
    assert set(backends["forbidden_modules"]) == {f"stablequant.engines.{module}" for module in modules}
    others = {f.stem for f in (PROJECT / "stablequant/engines").glob("[!_]*.py") if not f.stem.startswith((*modules,))}
    assert set(backends["source_modules"]) >= {f"stablequant.engines.{name}" for name in others}


def test_rules_run_the_script_of_their_own_name():
    assert len(jobs()) > 25, "rules that are not found are not checked"
    for name, body in jobs().items():
        assert f"../scripts/{name}.py" in body, name
        assert re.search(rf"logs/(\{{model\}}/)?{name}[/.]", body), name


def test_rules_that_are_submitted_ask_for_memory_and_time():
    for name, body in jobs().items():
        assert ("localrule: True" in body) != ("mem_mb=" in body and "runtime=" in body), name
