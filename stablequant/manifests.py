"""fairseq's manifests: the root on the first line, then one ``path TAB samples`` per utterance."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stablequant.errors import StableQuantError


@dataclass(frozen=True)
class ManifestEntry:
    """One utterance as listed: line in the manifest, path below the root, length in samples."""

    line: int
    path: str
    samples: int


@dataclass(frozen=True)
class Manifest:
    root: Path
    entries: list[ManifestEntry]


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; a relative root is taken from the working directory.

    Raises
    ------
    StableQuantError
        naming file and line, when the manifest or its root is missing, a line is malformed, a path leaves the root or
        stands twice, or no utterance is listed.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise StableQuantError(path, f"the manifest cannot be read ({error.strerror})", "correct the path") from error
    except UnicodeDecodeError as error:
        raise StableQuantError(path, "the manifest is not UTF-8 text", "write it as UTF-8") from error
    if not lines or not lines[0].strip():
        raise StableQuantError(f"{path}, line 1", "no root directory", "put the audio's root on the first line")
    root = Path(lines[0].strip())
    if not root.is_dir():
        raise StableQuantError(
            f"{path}, line 1", f"the root '{root}' is not a directory", "correct it, or run from the project's folder"
        )
    entries = [_entry(path, number, line) for number, line in enumerate(lines[1:], start=2) if line.strip()]
    if not entries:
        raise StableQuantError(path, "the split is empty", "list at least one utterance below the root")
    seen: dict[str, int] = {}
    for entry in entries:
        if entry.path in seen:
            raise StableQuantError(
                f"{path}, line {entry.line}", f"'{entry.path}' is on line {seen[entry.path]} too", "keep one of them"
            )
        seen[entry.path] = entry.line
    return Manifest(root, entries)


def _entry(manifest: Path, number: int, line: str) -> ManifestEntry:
    place = f"{manifest}, line {number}"
    fields = line.split("\t")
    if len(fields) != 2 or not fields[1].strip().isdecimal():
        raise StableQuantError(place, f"'{line[:80]}' is not 'path TAB samples'", "write it in fairseq's format")
    relative = PurePosixPath(fields[0])
    if relative.is_absolute() or ".." in relative.parts or "\0" in fields[0]:
        raise StableQuantError(place, f"'{fields[0][:80]}' leaves the root", "list paths below the root only")
    return ManifestEntry(number, fields[0], int(fields[1]))
