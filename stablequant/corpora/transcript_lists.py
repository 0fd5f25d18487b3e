"""Lists of transcripts without a header: ``utterance TAB words``, as Multilingual LibriSpeech's ``transcripts.txt``."""

import re
from collections.abc import Sequence
from pathlib import Path

from stablequant.corpora.entries import AUDIO, Listing, ManifestEntry, Rejection, RowError
from stablequant.corpora.folders import audio_files
from stablequant.corpora.windows_paths import is_file, with_slashes
from stablequant.errors import StableQuantError

NAME = "transcripts.txt"
LINE = re.compile(r"(?P<name>[^\t]*[^\t\s])\t(?P<words>[^\t]*)")


def is_transcript_list(path: Path, lines: Sequence[str], root: Path) -> bool:
    """Whether a file is ``transcripts.txt``, or names an audio file below ``root`` on its first line."""
    if path.name == NAME:
        return True
    match = LINE.fullmatch(next((line for line in lines if line.strip()), ""))
    if match is None or match["words"].strip().isdecimal():  # path and samples, as fairseq's
        return False
    return _directly(root, with_slashes(root, match["name"])) is not None


def read_transcript_list(path: Path, lines: Sequence[str], root: Path) -> Listing:
    """Find the audio of each line below ``root``, whose files are listed if that is needed.

    An utterance is the path of its file, the name of one in ``audio/speaker/book`` (Multilingual LibriSpeech), or the
    name of any file below ``root``.

    Raises
    ------
    StableQuantError
        when the root is missing, or when a line is not ``utterance TAB words``.
    """
    if not root.is_dir():
        raise StableQuantError(path, f"the root '{root}' is not a directory", "correct it")
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            match = LINE.fullmatch(line.rstrip("\t"))
            if match is None:
                raise StableQuantError(
                    f"{path}, line {number}", f"'{line[:80]}' is not 'utterance TAB words'", "write it so"
                )
            rows.append((number, with_slashes(root, match["name"]), match["words"]))
    places = {name: _directly(root, name) for _, name, _ in rows}
    named: dict[str, list[str]] = {}
    if None in places.values():
        for file in audio_files(root):
            named.setdefault(file.stem, []).append(file.relative_to(root).as_posix())
    entries, rejections = [], []
    for number, name, words in rows:
        try:
            entries.append(ManifestEntry(number, places[name] or _only(name, named), None, words, name=Path(name).stem))
        except RowError as fault:
            rejections.append(Rejection(number, name, str(fault)))
    return Listing(entries, rejections, root)


def _directly(root: Path, name: str) -> str | None:
    """The path below ``root`` of the audio of ``name``, if it needs no search."""
    if Path(name).suffix.lower() in AUDIO:
        return name if is_file(root / name) else None
    speaker, _, rest = name.partition("_")
    folder = f"audio/{speaker}/{rest.partition('_')[0]}"
    return next((p for suffix in sorted(AUDIO) if is_file(root / (p := f"{folder}/{name}{suffix}"))), None)


def _only(name: str, named: dict[str, list[str]]) -> str:
    found = named.get(name, [])
    if len(found) != 1:
        raise RowError(f"{len(found) or 'no'} audio files below the root are named '{name[:60]}'")
    return found[0]
