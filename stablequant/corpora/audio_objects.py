"""Cells of tables that name audio by an object, ``{"bytes": null, "path": ...}``, as datasets writes them."""

import ast
import json
import re
from collections.abc import Mapping
from contextlib import suppress

from stablequant.corpora.entries import RowError
from stablequant.corpora.parts import is_a_number_but_0, may_cut, role_of


def path_in(column: str, value: object) -> object:
    """The path in a cell of audio that is an object, or its text in JSON or Python; any other cell as it is.

    Raises
    ------
    RowError
        when the object holds the audio itself or names a part of it, or when its text cannot be read.
    """
    found = _object_in(column, value)
    if found is None:
        return value
    if found.get("bytes") is not None:
        raise RowError(f"the column '{column}' holds audio itself; write it to files, and their paths into the table")
    cut = next((key for key, cell in found.items() if _may_cut(str(key)) and is_a_number_but_0(cell)), None)
    if cut is not None:
        raise RowError(f"'{cut}' in the column '{column}' may cut the audio; give it a column of its own")
    return found.get("path")


def _object_in(column: str, value: object) -> Mapping[str, object] | None:
    """The object that a cell is or holds as text; None if it is none."""
    if isinstance(value, dict):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not (text.startswith("{") and text.endswith("}") and re.search(r"['\"]path['\"]\s*:", text)):
        return None
    for read in (json.loads, ast.literal_eval):  # pandas and datasets write what Python prints
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            found = read(text)
            if isinstance(found, dict):
                return found
    raise RowError(f"the object in the column '{column}' cannot be read; write its path alone, or remove the column")


def _may_cut(key: str) -> bool:
    role, _ = role_of(key) or ("", None)
    return role in ("start", "stop") or may_cut(key)
