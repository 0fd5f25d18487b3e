"""What MkDocs does with the pages: it writes two references from their sources, and checks links that leave docs/."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).parents[1]
CONFIGURATION = """# Configuration

`config.yaml` holds every default. An overlay (`snakemake --configfile FILE`) adds to it or replaces what it says. An
unknown key stops the run. This page is made from `config.schema.yaml` and `config.yaml`.

| key | default | meaning |
| --- | --- | --- |
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the schema and from the command line's help."""
    pages = {"reference/configuration.md": configuration(), "reference/command-line.md": command_line()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


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
        raise PluginError(f"the command line's help cannot be made into a page: {done.stderr}")
    return re.sub(r"^# `stablequant`", "# The command line", done.stdout, count=1)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the project outside docs/ into their names; a file that is not there stops the build."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent

    def named(link: re.Match[str]) -> str:
        target = (folder / link[2].partition("#")[0]).resolve()
        if target.is_relative_to(Path(config.docs_dir).resolve()) and not target.is_dir():
            return link[0]
        if not target.exists():
            raise PluginError(f"{page.file.src_uri}: nothing lies at {link[2]}")
        name = target.relative_to(PROJECT).as_posix()
        return f"`{name}`" if link[1].strip("`") in name else f"{link[1]} (`{name}`)"

    return re.sub(r"(?<!!)\[([^\]]+)\]\((\.\.?/[^)]+)\)", named, markdown)
