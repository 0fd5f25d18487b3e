"""Where the workflow lies, beside the package in a clone or within it where it was installed, and its version."""

import tomllib
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def project() -> Path:
    """The folder with the Snakefile, its rules, scripts and defaults."""
    clone = PACKAGE.parent
    return clone if (clone / "Snakefile").is_file() and (clone / "rules").is_dir() else PACKAGE / "project"


def version() -> str:
    """StableQuant's version."""
    about = PACKAGE.parent / "pyproject.toml"
    if project() == PACKAGE.parent and about.is_file():
        return f"{tomllib.loads(about.read_text(encoding='utf-8'))['project']['version']} (a clone)"
    return metadata.version("stablequant")
