"""The error for every fault in the user's data or set-up."""

from pathlib import Path


class StableQuantError(Exception):
    """A fault outside the program. Its message is ``place: fault; remedy``."""

    def __init__(self, place: Path | str, fault: str, remedy: str) -> None:
        super().__init__(f"{place}: {fault}; {remedy}")
