"""The error for every fault in the user's data or set-up."""

from pathlib import Path


class StableQuantError(Exception):
    """A fault outside the program. Its message is ``place: fault; remedy``."""

    def __init__(self, place: Path | str, fault: str, remedy: str) -> None:
        super().__init__(f"{place}: {fault}; {remedy}")


def missing_package(place: Path | str, package: str | None, extra: str) -> StableQuantError:
    """The error for a ``package`` that is not installed, and that an ``extra`` of this project brings."""
    remedy = f"in the project's folder run: pip install '.[{extra}]'"
    return StableQuantError(place, f"it needs the package {package}", remedy)
