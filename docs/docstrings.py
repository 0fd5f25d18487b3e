"""Reads the project's docstrings for the reference of Python: below Attributes and Parameters, `name: what it is`."""

import re

import griffe

LISTS = re.compile(r"^(Attributes|Parameters)\n-+\n((?:.+\n?)+)", re.MULTILINE)
ENTRY = re.compile(r"^(\w+(?:, \w+)*): ", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Writes each entry in the form that NumPy's style asks for, the name on a line of its own."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Called by griffe for each object once it and its members are known."""
        if obj.docstring:
            obj.docstring.value = LISTS.sub(_entries, obj.docstring.value)


def _entries(found: re.Match[str]) -> str:
    entries = ENTRY.sub(lambda name: f"{name[1]}\n    ", found[2])
    return f"{found[1]}\n{'-' * len(found[1])}\n{entries}"
