"""Write the references that are made from their sources: the config's keys, and the command line.

python docs/write_reference.py
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[1]
CONFIGURATION = """# Configuration

`config.yaml` holds every default. An overlay (`snakemake --configfile FILE`) adds to it or replaces what it says. An
unknown key stops the run. This page is made from `config.schema.yaml` and `config.yaml`.

| key | default | meaning |
| --- | --- | --- |
"""


def configuration() -> str:
    """Every key of the config with its default and its meaning, as a page."""
    schema = yaml.safe_load((PROJECT / "config.schema.yaml").read_text())
    defaults = yaml.safe_load((PROJECT / "config.yaml").read_text())
    return CONFIGURATION + "".join(_rows(schema, defaults, ""))


def _rows(schema: Mapping[str, Any], defaults: Mapping[str, Any], above: str) -> Iterator[str]:
    for key, described in schema["properties"].items():
        name, default = f"{above}{key}", defaults.get(key)
        inner = described.get("additionalProperties") if key == "models" else described
        nested = isinstance(inner, dict) and "properties" in inner
        shown = "" if nested or default is None else f"`{_one_line(default)}`"
        yield f"| `{name}` | {shown} | {_cell(described['description'])} |\n"
        if nested:
            place = f"{name}.NAME." if key == "models" else f"{name}."
            yield from _rows(inner, default if key != "models" and isinstance(default, dict) else {}, place)


def _one_line(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def command_line() -> str:
    """The command's help, as a page."""
    command = [sys.executable, "-m", "typer", "stablequant.bundle.cli", "utils", "docs", "--name", "stablequant"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return re.sub(r"^# `stablequant`", "# The command line", done.stdout, count=1)


def pages() -> dict[str, str]:
    """The text of each page, by its name below docs/reference."""
    return {"configuration.md": configuration(), "command-line.md": command_line()}


if __name__ == "__main__":
    for name, text in pages().items():
        (PROJECT / "docs/reference" / name).write_text(text)
