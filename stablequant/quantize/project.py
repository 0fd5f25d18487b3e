"""Where the workflow lies, beside the package in a clone or within it where it was installed."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def project() -> Path:
    """The folder with the Snakefile, its rules, scripts and defaults."""
    clone = PACKAGE.parent
    return clone if (clone / "Snakefile").is_file() and (clone / "rules").is_dir() else PACKAGE / "project"
