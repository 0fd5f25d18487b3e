"""StableQuant's version."""

import tomllib
from importlib import metadata
from pathlib import Path

ABOUT = Path(__file__).parents[2] / "pyproject.toml"  # of a clone


def version() -> str:
    """StableQuant's version: of the clone, or of the installed package; ``unknown`` of a copy of the package alone."""
    if ABOUT.is_file():
        project = tomllib.loads(ABOUT.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "stablequant":  # not a project that holds a copy
            return f"{project['version']} (a clone)"
    try:
        return metadata.version("stablequant")
    except metadata.PackageNotFoundError:
        return "unknown"
