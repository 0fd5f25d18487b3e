"""Write and open bundles. A bundle is one folder with everything needed to use a quantized recogniser elsewhere."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import soundfile

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Family
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import (
    checksum,
    data_beside,
    graph_files,
    read_json,
    replacing_folder,
    write_json,
    write_text,
)
from stablequant.workflow.provenance import checksums

RECORD = "quantization.json"
CARD = "README.md"


@dataclass(frozen=True)
class Sample:
    """An evaluation utterance for the bundle.

    Attributes
    ----------
    audio: its audio file
    transcript: its reference words
    hypotheses: hypothesis of each backend's engine, by backend
    part: samples, float32 ``(samples,)``, and rate in Hz of an utterance that is a part of its file; otherwise None
    """

    audio: Path
    transcript: str
    hypotheses: Mapping[str, str]
    part: tuple[np.ndarray, int] | None = None


def privacy_note(samples: int) -> str:
    """What the card and the log say of recordings in the bundle; blank if there are none."""
    if not samples:
        return ""
    return (
        f"The bundle holds {samples} recordings of the evaluation split with their words (`samples/`, config key "
        "`bundle_samples`). Pass it on only if the people who are heard agree."
    )


class StoredSample(TypedDict):
    """A `Sample` in `quantization.json`; ``file`` is relative to the bundle."""

    file: str
    transcript: str
    hypotheses: dict[str, str]


class Record(TypedDict, total=False):
    """What this module reads of `quantization.json`: the samples, and the checksums of the other files."""

    samples: list[StoredSample]
    sha256: dict[str, str]


def write_bundle(
    folder: Path,
    graph: Path,
    checkpoint: Path,
    engines: Mapping[str, Path],
    record: Mapping[str, object],
    card: str,
    samples: Sequence[Sample] = (),
) -> None:
    """Copy everything into ``folder``, which appears complete or not at all.

    Parameters
    ----------
    graph: the main ONNX graph; further graphs are beside it
    checkpoint: folder of the imported checkpoint
    engines: folders of engines, by backend
    record: how the model was quantized; it is written with the checksums of all other files
    card: the model card, see `stablequant.bundle.card`
    samples: utterances for `stablequant.bundle.verify`
    """
    family = family_of(checkpoint)
    with replacing_folder(folder) as making:
        for name, source in graph_files(graph, list(family.signatures(checkpoint))).items():
            for file, copy in ((source, making / f"{name}.onnx"), (data_beside(source), making / f"{name}.onnx.data")):
                if file.is_file():
                    shutil.copyfile(file, copy)
        for name in family.files(checkpoint):
            shutil.copyfile(checkpoint / name, making / name)
        for backend, engine in engines.items():
            shutil.copytree(engine, making / "engines" / backend)
        stored: list[StoredSample] = []
        for number, sample in enumerate(samples):
            name = f"samples/{number}{sample.audio.suffix if sample.part is None else '.wav'}"
            (making / name).parent.mkdir(exist_ok=True)
            if sample.part is None:
                shutil.copyfile(sample.audio, making / name)
            else:
                soundfile.write(making / name, *sample.part, subtype="FLOAT")  # exactly what was recognised
            stored.append({"file": name, "transcript": sample.transcript, "hypotheses": dict(sample.hypotheses)})
        write_text(making / CARD, card)
        sums = checksums(making)
        write_json(making / RECORD, {**record, "samples": stored, "sha256": sums})


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

    def engine(self, backend: str) -> Path:
        """The folder of one backend's engine, whose files are checked.

        Raises `StableQuantError` if there is no engine for ``backend``, or if a file of it is missing or was changed.
        """
        folder = self.folder / "engines" / backend
        if not folder.is_dir():
            built = ", ".join(sorted(path.name for path in (self.folder / "engines").glob("*"))) or "none"
            raise StableQuantError(self.folder, f"no engine for '{backend}'", f"engines in it: {built}")
        check(self.folder, self.record, f"engines/{backend}/")
        return folder


def check(folder: Path, record: Record, part: str = "") -> None:
    """Check files of the bundle in ``folder`` against the checksums in ``record``.

    ``part`` is a file, or a folder that ends with a slash. Without it, all files are checked.

    Raises
    ------
    StableQuantError
        when a file is missing, was changed, or lies outside the bundle, or when no file of ``part`` has a checksum.
    """
    inside = part.endswith("/") or not part
    names = [name for name in record["sha256"] if name == part or (inside and name.startswith(part))]
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


def _leads_into(folder: Path, file: Path) -> bool:
    """Whether ``file`` lies in ``folder`` after all symbolic links are followed."""
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # an impossible file name, or symbolic links in a circle
        return False


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
    check(folder, record, "config.json")
    family = family_of(folder)
    for name in family.files(folder):
        check(folder, record, name)
    family.writing(folder)  # raises StableQuantError if these files are damaged
    return Bundle(folder, record, family)


def _is_sample(stored: object) -> bool:
    return (
        isinstance(stored, dict) and isinstance(stored.get("file"), str) and isinstance(stored.get("hypotheses"), dict)
    )
