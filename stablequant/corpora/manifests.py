"""Manifests of splits: fairseq's format, or tables with a path and a text in each row."""

import csv
import json
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from stablequant.corpora.writing import LABELS
from stablequant.errors import StableQuantError

PATH_COLUMNS = ("path", "audio_filepath", "audio", "file", "filename", "wav")
TEXT_COLUMNS = ("sentence", "text", "transcript", "transcription")
AUDIO = {
    *(".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".sph", ".w64"),
    *(".aac", ".m4a", ".webm", ".wma"),  # by ffmpeg
}
Row = Mapping[str, object]  # a row of a table, by column


@dataclass(frozen=True)
class ManifestEntry:
    """One utterance of a manifest.

    Attributes
    ----------
    line: line number in the manifest, from 1
    path: path of the audio file, relative to the root
    samples: length in samples at the file's rate; None if the manifest does not give it
    transcript: None if neither the manifest nor a file beside it gives it
    """

    line: int
    path: str
    samples: int | None = None
    transcript: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The folder ``root`` of the audio, and the entries in the order of the manifest."""

    root: Path
    entries: list[ManifestEntry]

    _names: dict[Path, dict[str, str]] = field(default_factory=dict, repr=False, compare=False)

    def file(self, entry: ManifestEntry) -> Path:
        """The audio file of ``entry``, under the name that it has on disk; as listed if it does not exist.

        A name may be listed with composed letters (NFC) and stored with decomposed ones (NFD), as on macOS.
        """
        path = self.root / entry.path
        if entry.path.isascii() or os.path.lexists(path):
            return path
        path = self.root
        for part in PurePosixPath(entry.path).parts:
            path /= part if os.path.lexists(path / part) else self._names_in(path).get(composed(part), part)
        return path

    def _names_in(self, folder: Path) -> dict[str, str]:
        """The names in ``folder`` by their composed forms. It is listed once, as it may hold a whole corpus."""
        if folder not in self._names:
            names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
            self._names[folder] = {composed(name): name for name in names}
        return self._names[folder]


def read_manifest(path: Path, audio_root: Path | None = None, labels: Sequence[str] = LABELS) -> Manifest:
    """Read a manifest.

    A relative root is relative to the working directory. If it does not exist there, it is relative to the nearest
    folder around the manifest that contains it.

    ``labels`` are the suffixes of fairseq's transcripts beside the manifest that may be taken, the best first.

    There are three formats:

    - ``.jsonl`` and ``.json`` files have one JSON object on each line (NeMo).
    - ``.csv`` files, and tab-separated files whose header names a path column, are tables (Common Voice).
    - All other files have fairseq's format: the root on the first line that is not blank, then ``path TAB samples``.

    The root of the first two formats is the common folder of all paths if they are absolute. Otherwise it is the folder
    ``clips`` beside the manifest if it exists, or else the manifest's folder. ``audio_root`` replaces the root of any
    format.

    Raises
    ------
    StableQuantError
        when the manifest or its root is missing, a line is malformed, a path leads out of the root or occurs twice, or
        no utterance is listed. The message names file and line.
    """
    lines = _read_lines(path)
    rows = _json_rows(path, lines) if path.suffix in (".jsonl", ".json") else _delimited_rows(path, lines)
    if rows is None:
        root, entries = _read_fairseq(path, lines, audio_root, labels)
    else:
        root = audio_root or _root_of_table(path, rows)
        _check_root(root, "config key 'audio_root'" if audio_root else str(path))
        entries = [_table_entry(path, root, number, row) for number, row in rows]
    if not entries:
        raise StableQuantError(path, "the split is empty", "list at least one utterance below the root")
    seen: dict[str, int] = {}
    for entry in entries:
        name = composed(PurePosixPath(entry.path).as_posix())
        if name in seen:
            raise StableQuantError(
                f"{path}, line {entry.line}", f"'{entry.path}' is on line {seen[name]} too", "keep one of them"
            )
        seen[name] = entry.line
    return Manifest(root, entries)


def composed(name: str) -> str:
    """A name with composed letters (NFC), by which names are compared."""
    return unicodedata.normalize("NFC", name)


def siblings(manifest: Path) -> list[Path]:
    """fairseq's transcripts beside a manifest, one line per utterance: words, letters and phonemes, see `LABELS`."""
    return [file for suffix in LABELS if (file := manifest.with_suffix(f".{suffix}")).is_file()]


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except OSError as error:
        raise StableQuantError(path, f"the manifest cannot be read ({error.strerror})", "correct the path") from error
    except UnicodeDecodeError as error:
        raise StableQuantError(path, "the manifest is not UTF-8 text", "write it as UTF-8") from error


def _root_of_table(path: Path, rows: list[tuple[int, Row]]) -> Path:
    listed = [_column(f"{path}, line {number}", row, PATH_COLUMNS) for number, row in rows]
    if listed and all(Path(name).is_absolute() for name in listed):
        return Path(os.path.commonpath([Path(os.path.normpath(name)).parent for name in listed]))
    clips = path.parent / "clips"
    return clips if clips.is_dir() else path.parent


def _check_root(root: Path, place: str) -> None:
    if not root.is_dir():
        raise StableQuantError(
            place, f"the root '{root}' is not a directory", "correct it, or run from the project's folder"
        )


def _read_fairseq(
    path: Path, lines: list[str], audio_root: Path | None, labels: Sequence[str]
) -> tuple[Path, list[ManifestEntry]]:
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered or re.fullmatch(r".*\t\d+", numbered[0][1]):
        raise StableQuantError(f"{path}, line 1", "no root directory", "put the audio's root on the first line")
    (number, first), *listed = numbered
    root = _find_root(path, first.strip())
    if not root.is_dir():
        root = _find_root(path, first.partition(" #")[0].strip())  # StableQuant's example manifest has a comment here
    if audio_root is None:
        _check_root(root, f"{path}, line {number}")
    else:
        _check_root(audio_root, "config key 'audio_root'")
    transcripts = _sibling_transcripts(path, len(listed), labels)
    return audio_root or root, [
        _fairseq_entry(path, number, line, transcript)
        for (number, line), transcript in zip(listed, transcripts, strict=True)
    ]


def _find_root(manifest: Path, name: str) -> Path:
    """The folder ``name``: below the working directory, or else below the nearest folder around the manifest."""
    if not Path(name).is_dir():
        for folder in manifest.absolute().parents:
            if (folder / name).is_dir():
                return folder / name
    return Path(name)


def _fairseq_entry(manifest: Path, number: int, line: str, transcript: str | None) -> ManifestEntry:
    place = f"{manifest}, line {number}"
    match = re.fullmatch(r"(.*\S)\s+(\d+)\s*", line)
    if match is None:
        raise StableQuantError(place, f"'{line[:80]}' is not 'path TAB samples'", "write it in fairseq's format")
    return ManifestEntry(number, _below_root(place, match[1]), int(match[2]), transcript)


def _below_root(place: str, path: str) -> str:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or "\0" in path:
        raise StableQuantError(place, f"'{path[:80]}' is outside the root", "list paths below the root only")
    return path


def _sibling_transcripts(manifest: Path, count: int, labels: Sequence[str]) -> Sequence[str | None]:
    """One transcript per utterance from a file beside the manifest; only None if there is no such file."""
    present = siblings(manifest)
    found = next((file for suffix in labels if (file := manifest.with_suffix(f".{suffix}")) in present), None)
    if found is None and present and set(labels) == {"phn"}:
        raise StableQuantError(
            present[0],
            f"the recogniser was trained on phonemes, and {manifest.with_suffix('.phn').name} does not exist",
            "write the phonemes of each utterance into it, one line for each",
        )
    if found is None:
        return [None] * count
    lines = _read_lines(found)
    if len(lines) != count:
        raise StableQuantError(
            found, f"{len(lines)} lines for the {count} utterances of {manifest}", "write one line for each"
        )
    if found.suffix == ".ltr":  # letters, or SentencePiece's pieces, with spaces between them
        return [re.sub("[|\u2581]", " ", line.replace(" ", "")).strip() for line in lines]
    return lines


def _json_rows(path: Path, lines: list[str]) -> list[tuple[int, Row]]:
    """Line number and object of each line that is not blank."""
    rows: list[tuple[int, Row]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StableQuantError(
                f"{path}, line {number}", f"not JSON ({error})", "write one object per line"
            ) from error
        if not isinstance(row, dict):
            raise StableQuantError(f"{path}, line {number}", "not a JSON object", "write one object per line")
        rows.append((number, row))
    return rows


def _delimited_rows(path: Path, lines: list[str]) -> list[tuple[int, Row]] | None:
    """Line number and row of each row of a table with a header; None if the file is not a table."""
    comma = path.suffix == ".csv"
    header = (lines[0] if lines else "").split("," if comma else "\t")
    names = {name.strip().strip('"') for name in header}
    if not comma and (len(names) < 2 or not names & {*PATH_COLUMNS}):
        return None
    reader = csv.DictReader(lines) if comma else csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise StableQuantError(f"{path}, line {reader.line_num}", f"not a table ({error})", "repair it") from error


def _table_entry(manifest: Path, root: Path, number: int, row: Row) -> ManifestEntry:
    place = f"{manifest}, line {number}"
    path, text = _column(place, row, PATH_COLUMNS), _column(place, row, TEXT_COLUMNS)
    if row.get("offset") not in (None, "", 0, 0.0, "0"):
        raise StableQuantError(place, "a segment of a longer recording (offset)", "cut the audio into one file each")
    if Path(path).is_absolute():
        inside = Path(os.path.normpath(path))
        if not inside.is_relative_to(root.absolute()):
            raise StableQuantError(
                place, f"'{path[:80]}' is not below '{root}'", "set 'audio_root' of the model to the audio's folder"
            )
        path = str(inside.relative_to(root.absolute()))
    return ManifestEntry(number, _below_root(place, path), None, text)


def _column(place: str, row: Row, names: tuple[str, ...]) -> str:
    """The text in the first of the columns ``names`` that is not blank."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    raise StableQuantError(place, f"no value in a column named {' or '.join(names)}", "add it, or remove the line")


def transcript_files(folder: Path) -> list[Path]:
    """LibriSpeech's files of transcripts in ``folder``, for the audio beside them."""
    return sorted(folder.glob("*.trans.txt"))


def audio_files(root: Path) -> list[Path]:
    """Audio files below ``root``, sorted by path."""
    return sorted(file for file in root.rglob("*") if file.suffix.lower() in AUDIO)


def list_folder(root: Path) -> Manifest:
    """The audio files below ``root`` as a manifest without lengths and transcripts; no file is opened."""
    files = enumerate(audio_files(root), start=1)
    return Manifest(root, [ManifestEntry(number, str(file.relative_to(root))) for number, file in files])


def check_apart(calibration: Manifest, evaluation: Manifest, place: str) -> None:
    """Raise `StableQuantError`, which names ``place``, if both list the same audio, by its path.

    Copies under other names are found later, by their content.
    """

    def listed(manifest: Manifest) -> dict[ManifestEntry, ManifestEntry]:
        root = manifest.root.resolve()
        return {
            replace(entry, line=0, path=os.path.normpath(root / entry.path), samples=None, transcript=None): entry
            for entry in manifest.entries
        }

    calibrated, judged = listed(calibration), listed(evaluation)
    shared = [entry.path for key, entry in judged.items() if key in calibrated]
    if shared:
        raise StableQuantError(
            place,
            f"{len(shared)} of its {len(judged)} audio files are in the calibration data too, such as '{shared[0]}'",
            "leave them out of one of the two: engines must be judged on audio that they were not calibrated with",
        )
