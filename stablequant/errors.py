"""The error every fault of the user's data or set-up is raised as."""

from pathlib import Path


class StableQuantError(Exception):
    """A fault outside the program: its message names the place, the fault and the remedy."""

    def __init__(self, place: Path | str, fault: str, remedy: str) -> None:
        super().__init__(f"{place}: {fault}; {remedy}")
