"""Open a bundle, and check its files against the checksums in its record."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from stablequant.corpora.audio import LONGEST
from stablequant.engines.folder import read_engine
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Family
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import checksum, read_json

RECORD = "quantization.json"
CARD = "README.md"  # its owner may edit it, so it is not checked


class StoredSample(TypedDict):
    """A sample in `quantization.json`, see `stablequant.bundle.write_bundle`; ``file`` is relative to the bundle."""

    file: str
    transcript: str
    hypotheses: dict[str, str]


class Calibration(TypedDict, total=False):
    """Of which lengths the calibration utterances were: the longest, and what nine tenths do not exceed."""

    longest_seconds: float
    p90_seconds: float


class Record(TypedDict, total=False):
    """What is read of `quantization.json`: lengths of calibration utterances, samples, checksums of the other files."""

    calibration: Calibration
    samples: list[StoredSample]
    sha256: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes
    ----------
    folder: its folder, which `write_bundle` wrote
    record: content of `quantization.json`
    family: family of the recogniser
    """

    folder: Path
    record: Record
    family: Family

    @property
    def samples(self) -> list[StoredSample]:
        """The stored utterances."""
        return self.record.get("samples", [])

    @property
    def backends(self) -> list[str]:
        """Backends that it has an engine for, by name."""
        return sorted(path.name for path in (self.folder / "engines").glob("*") if path.is_dir())

    def engine(self, backend: str) -> Path:
        """The folder of one backend's engine, whose files are checked.

        Raises `StableQuantError` if there is no engine for ``backend``, or if a file of it is missing or was changed.
        """
        folder = self.folder / "engines" / backend
        if not folder.is_dir():
            options = " or ".join(f"--backend {name}" for name in self.backends)
            remedy = f"it has others, take {options}" if options else "copy the bundle again"
            raise StableQuantError(self.folder, f"no engine for '{backend}'", remedy)
        check(self.folder, self.record, f"engines/{backend}/")
        if folder.resolve() != self.folder.resolve() / "engines" / backend:
            raise StableQuantError(folder, "it leads out of the bundle", "do not use this bundle")
        for file in folder.iterdir():
            if not file.name.startswith(".") and f"engines/{backend}/{file.name}" not in self.record["sha256"]:
                raise StableQuantError(file, "it has no checksum", "copy the bundle again")
        for path in read_engine(folder).get("files", {}).values():
            check(self.folder, self.record, os.path.normpath(Path("engines", backend, path)))
        return folder


def check(folder: Path, record: Record, part: str = "") -> int:
    """Check files of the bundle in ``folder`` against the checksums in ``record``; return their number.

    ``part`` is a file, or a folder that ends with a slash. Without it, all files but the card are checked,
    of which earlier versions wrote a checksum, too.

    Raises
    ------
    StableQuantError
        when a file is missing, was changed, or lies outside the bundle, or when no file of ``part`` has a checksum.
    """
    inside = part.endswith("/") or not part
    names = [name for name in record["sha256"] if name == part or (inside and name.startswith(part) and name != CARD)]
    listed = {name: record["sha256"][name] for name in names}
    if not listed:
        raise StableQuantError(folder / RECORD, f"it has no checksum of '{part}'", "copy the bundle again")
    for name, expected in listed.items():
        file = folder / name
        if not _leads_into(folder, file):
            raise StableQuantError(
                folder / RECORD,
                f"'{name}' leads out of the bundle",
                "do not use this bundle",
            )
        if not file.is_file():
            raise StableQuantError(file, "missing from the bundle", "copy the bundle again")
        if checksum(file) != expected:
            raise StableQuantError(file, "the file was changed", "copy the bundle again")
    return len(listed)


def _leads_into(folder: Path, file: Path) -> bool:
    """Whether ``file`` belongs to the bundle in ``folder`` after all symbolic links are followed.

    In the cache of the Hugging Face hub a repository's files are links from ``snapshots/REVISION`` into its ``blobs``.
    """
    try:
        bundle, content = folder.resolve(), file.resolve()
    except (OSError, RuntimeError, ValueError):  # an impossible file name, or symbolic links in a circle
        return False
    cached = bundle.parent.name == "snapshots" and content.is_relative_to(bundle.parent.parent / "blobs")
    return cached or content.is_relative_to(bundle)


def read_bundle(folder: Path) -> Bundle:
    """Open a bundle.

    The files around the network are checked now, and an engine when it is used. `stablequant verify` checks all files.

    Raises
    ------
    StableQuantError
        when ``folder`` is not a bundle or is damaged.
    """
    if not (folder / RECORD).is_file():
        raise StableQuantError(
            folder, f"not a bundle: it holds no {RECORD}", "name results/MODEL/bundle or a copy of it"
        )
    record: Record = read_json(folder / RECORD)
    if not isinstance(record, dict) or not isinstance(record.get("sha256"), dict):
        raise StableQuantError(folder / RECORD, "it has no checksums", "copy the bundle again")
    samples = record.get("samples", [])
    if not isinstance(samples, list) or not all(map(_is_sample, samples)):
        raise StableQuantError(folder / RECORD, "'samples' is malformed", "copy the bundle again")
    if not _is_calibration(record.get("calibration", {})):
        raise StableQuantError(folder / RECORD, "'calibration' is malformed", "copy the bundle again")
    check(folder, record, "config.json")
    family = family_of(folder)
    for name in family.files(folder):
        check(folder, record, name)
    family.front_end(folder)  # raises StableQuantError if these files are damaged
    return Bundle(folder, record, family)


def _is_sample(stored: object) -> bool:
    return (
        isinstance(stored, dict) and isinstance(stored.get("file"), str) and isinstance(stored.get("hypotheses"), dict)
    )


def _is_calibration(lengths: object) -> bool:
    return isinstance(lengths, dict) and all(
        isinstance(lengths.get(key, 1), int | float) and 0 < lengths.get(key, 1) <= LONGEST
        for key in ("longest_seconds", "p90_seconds")
    )
