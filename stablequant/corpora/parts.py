"""Parts of recordings: columns that name them, their units, and where they lie in the file."""

import math
import re
from collections.abc import Mapping, Sequence

from stablequant.corpora.entries import Part, RowError

TOLERANCE = 0.1  # seconds: manifests round, and an MP3 file is longer than what it was made from
COLUMNS = {
    "start": "start|begin|offset|starttime|begintime|segmentstart|startoffset",
    "stop": "end|stop|endtime|stoptime|segmentend|endoffset",
    "length": "duration|dur|segmentduration",
}
UNITS = {"": 1.0, "s|secs?|seconds?": 1.0, "ms|msec|millis|milliseconds?": 1e-3, "samples?": None}  # in seconds
CUTTING = {"start", "begin", "end", "stop", "offset", "onset"}  # words in names of columns that may cut the audio


def role_of(column: str) -> tuple[str, float | None] | None:
    """What a column says of a part, one of `COLUMNS`, and its unit in seconds, or None for samples of the file.

    The unit is the end of the name: ``start``, ``start_s`` and ``startSeconds`` are in seconds, ``start_ms`` and
    ``duration[ms]`` in milliseconds, ``start_samples`` in samples. Returns None for a column that says nothing of this.
    """
    name = re.sub(r"[\W_]", "", column).casefold()
    for role, names in COLUMNS.items():
        for suffixes, unit in UNITS.items():
            if re.fullmatch(f"({names})({suffixes})", name):
                return role, unit
    return None


def may_cut(column: str) -> bool:
    """Whether the name of a column that has no role sounds as if it had one, as ``clip_start`` or ``frameOffset``."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", column)
    return role_of(column) is None and any(word.casefold() in CUTTING for word in words)


def is_a_number_but_0(value: object) -> bool:
    """Whether a cell of a column that may cut the audio does so."""
    try:
        return float(str(value)) != 0
    except ValueError:
        return False


def part_of(cells: Mapping[str, object], columns: Sequence[str]) -> Part | None:
    """The part that a row names in ``columns``, which have roles; None if all of them are blank.

    Raises
    ------
    RowError
        when a value is no number, infinite or negative, when two columns contradict each other, when units are mixed,
        or when the part is empty.
    """
    found: dict[str, tuple[float, str]] = {}
    in_samples = set()
    for column in columns:
        role, unit = role_of(column) or ("", None)
        value = cells.get(column)
        if value is None or str(value).strip() == "":
            continue
        number = _number(column, value) * (unit or 1.0)
        in_samples.add(unit is None)
        before, other = found.get(role, (number, column))
        if not math.isclose(before, number, abs_tol=1e-3):
            raise RowError(f"the columns '{other}' and '{column}' differ")
        found[role] = number, column
    if not found:
        return None
    if len(in_samples) > 1:
        raise RowError("the segment is given in samples and in seconds")
    numbers = {role: number for role, (number, _) in found.items()}
    part = Part(numbers.get("start"), numbers.get("stop"), numbers.get("length"), True in in_samples)
    if part.stop is not None and part.stop <= (part.start or 0):
        raise RowError(f"the segment is empty: it starts at {part.start or 0:g} and ends at {part.stop:g}")
    if part.length == 0:
        raise RowError("the segment is empty: its duration is 0")
    return part


def _number(column: str, value: object) -> float:
    try:
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RowError(f"'{str(value)[:40]}' in the column '{column}' is not a number")
    if number < 0:
        raise RowError(f"{number:g} in the column '{column}' is negative")
    return number


def seconds_of(part: Part, file_samples: int, file_rate: int) -> tuple[float, float] | None:
    """Start and end of ``part`` in seconds; None if it is the whole file of ``file_samples`` at ``file_rate`` (Hz).

    A length without a start only tells how long the file is, as the ``duration`` in many manifests of NeMo. A length
    from the start of a file on may be longer than the file. Otherwise a part lies in the file, but for `TOLERANCE`.

    Raises
    ------
    RowError
        when the part lies outside the file, or when its end and its length contradict each other.
    """
    if part.start is None and part.stop is None:
        return None
    file = file_samples / file_rate
    scale = 1 / file_rate if part.in_samples else 1.0
    start = (part.start or 0) * scale
    length = None if part.length is None else part.length * scale
    if part.stop is not None:
        stop = part.stop * scale
        if length is not None and min(abs(length - (stop - start)), abs(length - file)) > TOLERANCE:
            raise RowError(f"the segment from {start:g} to {stop:g} s has not the duration {length:g} s")
    else:
        stop = file if length is None else start + length
        if start == 0:
            stop = min(stop, file)
    if start >= file or stop > file + TOLERANCE:
        raise RowError(f"the segment from {start:g} to {stop:g} s lies outside the file, which has {file:.2f} s")
    if start == 0 and stop >= file - TOLERANCE:
        return None
    return start, min(stop, file)
