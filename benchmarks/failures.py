"""What a table says of a tool that failed, in one line."""

from pathlib import Path


def in_one_line(error: BaseException) -> str:
    """An error with its kind."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def last_line(log: Path) -> str:
    """The last line of a process's ``log`` that is not blank; empty if there is none."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
