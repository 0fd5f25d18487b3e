"""Manifests of splits, in the form in which they are found: fairseq's, tables, Kaldi's, lists of transcripts."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stablequant.corpora import kaldi, tables, transcript_lists
from stablequant.corpora.entries import Listing, Manifest, ManifestEntry, Part, first_line, read_lines
from stablequant.corpora.front_end import LABELS
from stablequant.corpora.windows_paths import check_is_relative, is_file, with_slashes
from stablequant.errors import StableQuantError

LINE = re.compile(r"(.*\S)\s+(\d+)\s*")  # of fairseq's manifests: path TAB samples
AUDIOFOLDER = "file_name"  # the column that an audiofolder of the package datasets has
IN_FOLDERS = (kaldi.RECORDINGS, transcript_lists.NAME, "metadata.csv", "metadata.jsonl")
LOOKED_AT = 20  # first files of a table, by which its root is found


def read_manifest(path: Path, audio_root: Path | None = None, labels: Sequence[str] = LABELS) -> Manifest:
    """Read a manifest, or the one in a folder, see `manifest_in`.

    A relative root is relative to the working directory. If it does not exist there, it is relative to the nearest
    folder around the manifest that contains it. ``labels`` are the suffixes of fairseq's transcripts beside the
    manifest that may be taken, the best first.

    The form is found by the content, except for names that are part of a form:

    - ``wav.scp`` or ``text``: a data folder of Kaldi, see `kaldi`.
    - A header that names a column of audio, or a JSON object on each line: a table (Common Voice, NeMo), see `tables`.
    - ``transcripts.txt``, or an audio file in front of a tab: a list of transcripts, see `transcript_lists`.
    - All other files have fairseq's format: the root on the first line that is not blank, then ``path TAB samples``.

    The root of tables and of Kaldi's folders is the common folder of all paths if they are absolute. Otherwise it is
    the folder ``clips`` beside the manifest if it exists and the manifest's folder has none of the first files;
    otherwise it is the manifest's folder, as for lists of transcripts.
    ``audio_root`` replaces the root of any form.

    A row that cannot be used, as one without a transcript, is one of the manifest's rejections.

    Raises
    ------
    StableQuantError
        when the manifest or its root is missing, the form of a line or of the header is wrong, a path leads out of the
        root, or no utterance can be used. The message names file and line.
    """
    path = manifest_in(path)
    lines = read_lines(path)
    if kaldi.is_kaldi(path):
        listing = kaldi.read_kaldi(path)
    elif tables.is_json(path, lines):
        listing = tables.read_json_lines(path, lines)
    elif separator := tables.separator_of(lines):
        listing = tables.read_separated(path, lines, separator)
    elif transcript_lists.is_transcript_list(path, lines, audio_root or path.parent):
        listing = transcript_lists.read_transcript_list(path, lines, audio_root or path.parent)
    else:
        tables.check_is_no_table(path, lines, LINE)
        listing = _read_fairseq(path, lines, audio_root, labels)
    root = listing.root
    if root is None:
        root = audio_root or _root_of_table(path, [entry.path for entry in listing.entries])
        _check_root(root, "config key 'audio_root'" if audio_root else str(path))
    entries = [_below(listing.source or path, root, entry) for entry in listing.entries]
    rejections = sorted(listing.rejections, key=lambda rejection: rejection.line)
    if not entries and rejections:
        first = rejections[0]
        raise StableQuantError(
            f"{listing.source or path}, line {first.line}",
            f"{first.reason} (none of {len(rejections)} rows can be used)",
            "repair the manifest",
        )
    if not entries:
        raise StableQuantError(path, "the split is empty", "list at least one utterance below the root")
    return Manifest(root, entries, rejections, listing.source or path)


def manifest_in(split: Path) -> Path:
    """The manifest in the folder ``split``, if it has one of a form that is found by its name; otherwise ``split``.

    These are Kaldi's ``wav.scp``, the ``transcripts.txt`` of Multilingual LibriSpeech, and the ``metadata.csv`` and
    ``metadata.jsonl`` of an audiofolder, in which the first line names the column ``file_name``.

    Raises
    ------
    StableQuantError
        when it is a folder of Common Voice, whose tables are several.
    """
    for file in (split / name for name in IN_FOLDERS):
        if file.is_file() and (file.stem != "metadata" or AUDIOFOLDER in first_line(file)):
            return file
    found = _tables_of_common_voice(split)
    if found:
        chosen = next((name for name in ("validated.tsv", "train.tsv") if name in found), found[0])
        raise StableQuantError(
            split, f"Common Voice's folder, with the tables {', '.join(found)}", f"name one, such as {split / chosen}"
        )
    return split


def _tables_of_common_voice(split: Path) -> list[str]:
    """The names of the tables in ``split`` if the audio lies in ``clips`` there, as Common Voice has it."""
    if not (split / "clips").is_dir():
        return []
    files = sorted(split.glob("[!.]*.tsv"))
    return [file.name for file in files if {"path", "sentence"} <= {*first_line(file).split("\t")}]


def siblings(manifest: Path) -> list[Path]:
    """Files beside a manifest that are read with it.

    Those of fairseq have one transcript per line: words, letters or phonemes, see `LABELS`. For Kaldi's see `kaldi`.
    """
    if kaldi.is_kaldi(manifest):
        return [file for name in kaldi.BESIDE if (file := manifest.with_name(name)) != manifest and file.is_file()]
    return _transcripts_beside(manifest)


def _transcripts_beside(manifest: Path) -> list[Path]:
    return [file for suffix in LABELS if (file := manifest.with_suffix(f".{suffix}")).is_file()]


def _below(manifest: Path, root: Path, entry: ManifestEntry) -> ManifestEntry:
    """``entry`` with its path relative to ``root``; raise `StableQuantError` if it leads out of it."""
    place = f"{manifest}, line {entry.line}"
    check_is_relative(place, root, entry.path)
    path = with_slashes(root, entry.path)
    if path.startswith("/"):
        inside = Path(os.path.normpath(path))
        if not inside.is_relative_to(root.absolute()):
            raise StableQuantError(
                place, f"'{path[:80]}' is not below '{root}'", "set 'audio_root' of the model to the audio's folder"
            )
        path = str(inside.relative_to(root.absolute()))
    _below_root(place, path)
    return entry if path == entry.path else replace(entry, path=path)  # there may be a million entries


def _root_of_table(path: Path, listed: Sequence[str]) -> Path:
    if listed and all(Path(name).is_absolute() for name in listed):
        return Path(os.path.commonpath([Path(os.path.normpath(name)).parent for name in listed]))
    clips = path.parent / "clips"
    beside = any(is_file(path.parent / with_slashes(path.parent, name)) for name in listed[:LOOKED_AT])
    return clips if clips.is_dir() and not beside else path.parent


def _check_root(root: Path, place: str) -> None:
    if not root.is_dir():
        raise StableQuantError(
            place, f"the root '{root}' is not a directory", "correct it, or run from the project's folder"
        )


def _read_fairseq(path: Path, lines: list[str], audio_root: Path | None, labels: Sequence[str]) -> Listing:
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
    entries = [
        _fairseq_entry(path, number, line, transcript)
        for (number, line), transcript in zip(listed, transcripts, strict=True)
    ]
    return Listing(entries, [], audio_root or root)


def _find_root(manifest: Path, name: str) -> Path:
    """The folder ``name``: below the working directory, or else below the nearest folder around the manifest."""
    if not Path(name).is_dir():
        for folder in manifest.absolute().parents:
            if (folder / name).is_dir():
                return folder / name
    return Path(name)


def _fairseq_entry(manifest: Path, number: int, line: str, transcript: str | None) -> ManifestEntry:
    place = f"{manifest}, line {number}"
    match = LINE.fullmatch(line)
    if match is None:
        raise StableQuantError(place, f"'{line[:80]}' is not 'path TAB samples'", "write it in fairseq's format")
    return ManifestEntry(number, _below_root(place, match[1]), int(match[2]), transcript)


def _below_root(place: str, path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise StableQuantError(place, f"'{path[:80]}' is outside the root", "list paths below the root only")
    return path


def _sibling_transcripts(manifest: Path, count: int, labels: Sequence[str]) -> Sequence[str | None]:
    """One transcript per utterance from a file beside the manifest; only None if there is no such file."""
    present = _transcripts_beside(manifest)
    found = next((file for suffix in labels if (file := manifest.with_suffix(f".{suffix}")) in present), None)
    if found is None and present and set(labels) == {"phn"}:
        raise StableQuantError(
            present[0],
            f"the recogniser was trained on phonemes, and {manifest.with_suffix('.phn').name} does not exist",
            "write the phonemes of each utterance into it, one line for each",
        )
    if found is None:
        return [None] * count
    lines = read_lines(found)
    if len(lines) != count:
        raise StableQuantError(
            found, f"{len(lines)} lines for the {count} utterances of {manifest}", "write one line for each"
        )
    if found.suffix == ".ltr":  # letters, or SentencePiece's pieces, with spaces between them
        return [re.sub("[|\u2581]", " ", line.replace(" ", "")).strip() for line in lines]
    return lines


def check_apart(calibration: Manifest, evaluation: Manifest, place: str) -> None:
    """Raise `StableQuantError`, which names ``place``, if both list the same audio, by its path.

    Copies under other names are found later, by their content.
    """

    def listed(manifest: Manifest) -> dict[tuple[str, Part | None, int | str | None], ManifestEntry]:
        root = str(manifest.root.resolve())
        return {(os.path.normpath(f"{root}/{e.path}"), e.part, e.channel): e for e in manifest.entries}

    calibrated, judged = listed(calibration), listed(evaluation)
    shared = [entry.path for key, entry in judged.items() if key in calibrated]
    if shared:
        raise StableQuantError(
            place,
            f"{len(shared)} of its {len(judged)} audio files are in the calibration data too, such as '{shared[0]}'",
            "leave them out of one of the two: engines must be judged on audio that they were not calibrated with",
        )
