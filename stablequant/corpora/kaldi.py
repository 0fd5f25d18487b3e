"""Kaldi's data folders: ``wav.scp`` and ``text``, with ``segments`` and ``utt2spk`` where they exist.

See https://kaldi-asr.org/doc/data_prep.html.
"""

import re
from pathlib import Path

from stablequant.corpora.entries import Listing, ManifestEntry, Part, Rejection, RowError, read_lines
from stablequant.corpora.parts import part_of
from stablequant.errors import StableQuantError

RECORDINGS = "wav.scp"
TEXT = "text"
BESIDE = (RECORDINGS, TEXT, "segments", "utt2spk")
Lines = dict[str, tuple[int, str]]  # line number and the rest of the line, by its first word


def is_kaldi(path: Path) -> bool:
    """Whether ``path`` is the ``wav.scp``, ``text`` or ``segments`` of a folder of Kaldi."""
    return path.name in BESIDE and (path.name == RECORDINGS or (path.parent / RECORDINGS).is_file())


def read_kaldi(path: Path) -> Listing:
    """Read the folder of ``path``. Line numbers are those of ``segments`` if there is one, otherwise of ``wav.scp``.

    Raises
    ------
    StableQuantError
        when a file is missing or names something twice, or when a recording is a command, which is never run.
    """
    folder = path.parent
    recordings, texts = _lines(folder / RECORDINGS), _lines(folder / TEXT)
    for number, place in recordings.values():
        if place.endswith("|") or place.startswith("|") or place == "-":
            raise StableQuantError(
                f"{folder / RECORDINGS}, line {number}",
                f"'{place[:60]}' is a command, and StableQuant runs no command that a manifest names",
                "convert the audio to files, and list these",
            )
    cut = (folder / "segments").is_file()
    utterances = _lines(folder / "segments") if cut else {name: (line, name) for name, (line, _) in recordings.items()}
    speakers = _lines(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
    entries, rejections = [], []
    for name, (line, rest) in utterances.items():
        recording = rest.split()[0] if rest else ""
        try:
            if recording not in recordings:
                raise RowError(f"the recording '{recording[:60]}' is not in {RECORDINGS}")
            if name not in texts:
                raise RowError(f"no transcript of '{name[:60]}' in '{TEXT}'")
            entries.append(
                ManifestEntry(
                    line,
                    recordings[recording][1],
                    None,
                    texts[name][1],
                    _part(rest) if cut else None,
                    speakers[name][1] if name in speakers else None,
                    name,
                    _channel(rest) if cut else None,
                )
            )
        except RowError as fault:
            rejections.append(Rejection(line, recordings.get(recording, (0, name))[1], str(fault)))
    source = "segments" if cut else RECORDINGS
    rejections += [
        Rejection(line, name, f"'{TEXT}' has a transcript, but '{source}' has no such utterance")
        for name, (line, _) in texts.items()
        if name not in utterances
    ]
    return Listing(entries, rejections, source=folder / source)


def _part(rest: str) -> Part | None:
    """The part that ``recording start end [channel]`` names; an end of -1 is that of the recording."""
    cells = rest.split()
    if len(cells) not in (3, 4):
        raise RowError("not 'utterance recording start end'")
    ends_with_recording = re.fullmatch(r"-1(\.0*)?", cells[2])
    return part_of({"start": cells[1], "end": None if ends_with_recording else cells[2]}, ("start", "end"))


def _channel(rest: str) -> int | None:
    """The channel that ``recording start end [channel]`` names; Kaldi counts from 0."""
    cells = rest.split()
    if len(cells) < 4:
        return None
    if not cells[3].isdecimal():
        raise RowError(f"channel '{cells[3][:20]}' of a recording; write its number, from 0")
    return int(cells[3])


def _lines(file: Path) -> Lines:
    found: Lines = {}
    for number, line in enumerate(read_lines(file), start=1):
        name, *rest = line.split(None, 1) or [""]
        if name in found:
            raise StableQuantError(
                f"{file}, line {number}", f"'{name[:60]}' is on line {found[name][0]} too", "keep one of them"
            )
        if name:
            found[name] = number, rest[0].strip() if rest else ""
    return found
