"""Manifests that are tables with named columns: separated text with a header, or JSON lines."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stablequant.corpora import channels
from stablequant.corpora.audio_objects import path_in
from stablequant.corpora.entries import Listing, ManifestEntry, Rejection, RowError
from stablequant.corpora.parts import is_a_number_but_0, may_cut, part_of, role_of
from stablequant.errors import StableQuantError

PATH_COLUMNS = (
    *("path", "audio_filepath", "file_name", "filename", "file", "audio", "wav", "audio_path", "audio_file"),
    *("file_path", "filepath", "wav_filename", "wav_path", "wav_file"),
)
TEXT_COLUMNS = ("sentence", "text", "transcript", "transcription", "wrd")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id", "spk", "spk_id", "speakerid")
SEPARATORS = ("\t", ";", ",")
Cells = Mapping[str, object]  # of a row, by column


class Unquoted(csv.excel):
    """Separated text in which quotes have no meaning."""

    quoting = csv.QUOTE_NONE


@dataclass(frozen=True)
class Row:
    """A row of a table: its line, its cells by column, and the cells that have no column."""

    line: int
    cells: Cells
    unnamed: Sequence[str] = ()


def is_json(path: Path, lines: Sequence[str]) -> bool:
    """Whether a manifest consists of JSON lines."""
    first = next((line.strip() for line in lines if line.strip()), "")
    return first.startswith("{") or path.suffix in (".jsonl", ".json")


def separator_of(lines: Sequence[str]) -> str | None:
    """The separator of a table whose header names a column of audio; None if there is no such header."""
    first = next((line for line in lines if line.strip()), "")
    names = {separator: [_normal(cell) for cell in _cells(first, separator)] for separator in SEPARATORS}
    found = {s: len({*names[s]} & {*PATH_COLUMNS, *TEXT_COLUMNS}) for s in SEPARATORS if {*names[s]} & {*PATH_COLUMNS}}
    best = max(found, key=found.__getitem__, default=None)
    return best if best is not None and len(names[best]) > 1 else None


def check_is_no_table(path: Path, lines: Sequence[str], other: re.Pattern[str]) -> None:
    """Raise `StableQuantError` if the lines look like a table whose header names no column of audio.

    ``other`` is what the second line of another form looks like.
    """
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()][:2]
    if not numbered:
        return
    (number, first), second = numbered[0], numbered[1][1] if len(numbered) > 1 else None
    separator = next((s for s in SEPARATORS if s in first), None)
    if other.fullmatch(first) or other.fullmatch(second or "") or (separator is None and path.suffix != ".csv"):
        return
    raise StableQuantError(
        f"{path}, line {number}",
        f"the header '{first[:80]}' names no column of audio",
        f"name one {', '.join(PATH_COLUMNS[:-1])} or {PATH_COLUMNS[-1]}",
    )


def read_separated(path: Path, lines: Sequence[str], separator: str) -> Listing:
    """Read a table with a header.

    Raises
    ------
    StableQuantError
        when the header lacks a column or names one twice, when the quotes of a row do not match, or when a column may
        cut the audio in a way that is not known.
    """
    numbered = _separated(path, lines, separator)
    line, header = next(numbered)
    names = [name.strip() for name in header]
    place = f"{path}, line {line}"
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise StableQuantError(place, f"two columns are named '{twice[0]}'", "rename or remove one")
    rows = []
    for number, cells in numbered:
        extra = [cell for name, cell in zip(names, cells, strict=False) if not name] + cells[len(names) :]
        named = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        rows.append(Row(number, named, [cell for cell in extra if cell.strip()]))
    if names and not names[0] and all(row.unnamed and row.unnamed[0].strip().isdecimal() for row in rows):
        rows = [Row(row.line, row.cells, row.unnamed[1:]) for row in rows]  # pandas numbers rows so
    return _listing(place, [name for name in names if name], rows)


def read_json_lines(path: Path, lines: Sequence[str]) -> Listing:
    """Read one JSON object per line.

    Raises
    ------
    StableQuantError
        when a line is no JSON object or has a key twice, when all lack a column, or when one may cut the audio in a way
        that is not known.
    """
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=_without_doubles)
        except (ValueError, RecursionError) as error:
            raise StableQuantError(place, f"not JSON ({error})", "write one object per line") from error
        if not isinstance(row, dict):
            raise StableQuantError(place, "not a JSON object", "write one object per line")
        rows.append(Row(number, row))
    first = rows[0].line if rows else 1
    return _listing(f"{path}, line {first}", list(dict.fromkeys(name for row in rows for name in row.cells)), rows)


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key occurs twice")
    return row


def _normal(name: str) -> str:
    return name.strip().casefold()


def _cells(line: str, separator: str) -> list[str]:
    """The cells of a header, without quotes."""
    return [cell.strip().strip('"') for cell in line.split(separator)]


def _separated(path: Path, lines: Sequence[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """The number of its first line and the cells of each row that is not blank.

    In tab-separated text, as Common Voice's, quotes belong to the sentence, unless the header is quoted too.
    """
    header = next((line for line in lines if line.strip()), "")
    form = csv.excel
    if separator == "\t" and not header.startswith('"'):
        form = Unquoted
    reader = csv.reader((f"{line}\n" for line in lines), form, delimiter=separator, strict=True)
    first = 1
    try:
        for cells in reader:
            if any(separator in line for line in lines[first : reader.line_num]):
                raise csv.Error(f"a quoted cell goes on until line {reader.line_num}, which looks like another row")
            if any(cell.strip() for cell in cells):
                yield first, cells
            first = reader.line_num + 1
    except csv.Error as error:
        remedy = "close its quotes, and write every row on one line"
        raise StableQuantError(f"{path}, line {first}", f"not a table ({error})", remedy) from error


def _listing(place: str, names: Sequence[str], rows: Sequence[Row]) -> Listing:
    """The entries in ``rows``; ``place`` is the header, or the first row where there is none."""

    paths, texts, speakers = (_known(names, known) for known in (PATH_COLUMNS, TEXT_COLUMNS, SPEAKER_COLUMNS))
    for found, known in ((paths, PATH_COLUMNS), (texts, TEXT_COLUMNS)):
        if rows and not found:
            raise StableQuantError(place, f"no column named {' or '.join(known)}", "add it, or rename another")
    for name in filter(may_cut, names):
        row = next((row for row in rows if is_a_number_but_0(row.cells.get(name))), None)
        if row:
            raise StableQuantError(
                f"{place.rpartition(' ')[0]} {row.line}",
                f"the column '{name}' may cut the audio, but how is not known",
                "name it start, end, offset or duration (seconds; start_ms, start_samples), or remove it",
            )
    parts = [name for name in names if role_of(name)]
    listed_channels = _known(names, channels.COLUMNS)
    entries, rejections = [], []
    for row in rows:
        path = ""
        try:
            path = _text({name: path_in(name, row.cells.get(name)) for name in paths}, paths)
            if row.unnamed:
                raise RowError(f"the cell '{row.unnamed[0][:40]}' is below no column; quote cells with a separator")
            text, part = _text(row.cells, texts), part_of(row.cells, parts)
            speaker, channel = (_first(row.cells, names) for names in (speakers, listed_channels))
        except RowError as fault:
            rejections.append(Rejection(row.line, path, str(fault)))
        else:
            entries.append(ManifestEntry(row.line, path, None, text, part, speaker, channel=channel))
    return Listing(entries, rejections)


def _known(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those of ``names`` that are ``known``, in that order."""
    return sorted((name for name in names if _normal(name) in known), key=lambda name: known.index(_normal(name)))


def _first(cells: Cells, names: Sequence[str]) -> str | None:
    """What the first of the columns ``names`` says that says anything."""
    return next((text for name in names if cells.get(name) is not None and (text := str(cells[name]).strip())), None)


def _text(cells: Cells, names: Sequence[str]) -> str:
    """The text in the columns ``names``, which must agree where several are filled.

    Raises `RowError` if all are blank, if two differ, or if one is not text.
    """
    filled = {name: cells[name] for name in names if cells.get(name) is not None and str(cells[name]).strip()}
    for name, value in filled.items():
        if not isinstance(value, str):
            raise RowError(f"'{str(value)[:40]}' in the column '{name}' is not text")
    texts = {str(value).strip(): name for name, value in filled.items()}
    if len(texts) > 1:
        raise RowError(f"the columns {' and '.join(map(repr, texts.values()))} differ")
    if not texts:
        raise RowError(f"no value in a column named {' or '.join(names)}")
    return next(iter(texts))
