"""The bundle: one folder with all that is needed to use a quantized recogniser elsewhere."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Family
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import checksum, data_beside, read_json, replacing_folder, write_json, write_text
from stablequant.storage.onnx_graph import graph_files
from stablequant.workflow.provenance import checksums

RECORD = "quantization.json"
CARD = "README.md"


@dataclass(frozen=True)
class Sample:
    """An evaluation utterance that goes into the bundle.

    Attributes
    ----------
    audio: its file
    transcript: what is said
    hypotheses: what each backend's engine heard, by backend
    """

    audio: Path
    transcript: str
    hypotheses: Mapping[str, str]


def write_bundle(
    folder: Path,
    graph: Path,
    checkpoint: Path,
    engines: Mapping[str, Path],
    record: Mapping[str, Any],
    card: str,
    samples: Sequence[Sample] = (),
) -> None:
    """Copy everything into ``folder``, which appears whole or not at all.

    ``graph`` is the main one, others lie beside it. ``engines`` are folders by backend; ``record`` says how the model
    was quantized and is written with the checksums of all other files; ``card`` is what a person reads first;
    ``samples`` are for `stablequant.bundle.verify`.
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
        stored = []
        for number, sample in enumerate(samples):
            file = f"samples/{number}{sample.audio.suffix}"
            (making / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(sample.audio, making / file)
            stored.append({"file": file, "transcript": sample.transcript, "hypotheses": dict(sample.hypotheses)})
        write_text(making / CARD, card)
        sums = checksums(making)
        write_json(making / RECORD, {**record, "samples": stored, "sha256": sums})


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder, whose files are what `write_bundle` wrote.

    Attributes
    ----------
    record: `quantization.json`
    family: of the recogniser
    """

    folder: Path
    record: dict[str, Any]
    family: Family

    @property
    def samples(self) -> list[dict[str, Any]]:
        """The stored utterances: ``file transcript hypotheses``, as `Sample` has them."""
        return self.record.get("samples", [])

    def engine(self, backend: str) -> Path:
        """The folder of one backend's engine, checked."""
        folder = self.folder / "engines" / backend
        if not folder.is_dir():
            built = ", ".join(sorted(path.name for path in (self.folder / "engines").glob("*"))) or "none"
            raise StableQuantError(self.folder, f"no engine for '{backend}'", f"engines in it: {built}")
        check(self.folder, self.record, f"engines/{backend}/")
        return folder


def check(folder: Path, record: dict[str, Any], part: str = "") -> None:
    """Refuse a bundle if the file ``part``, or one in the folder ``part``, which ends with a slash, or without ``part``
    any, is missing or not the one that was written."""
    inside = part.endswith("/") or not part
    names = [name for name in record["sha256"] if name == part or (inside and name.startswith(part))]
    listed = {name: record["sha256"][name] for name in names}
    if not listed:
        raise StableQuantError(folder / RECORD, f"no checksum of '{part}'", "copy the bundle again")
    for name, expected in listed.items():
        file = folder / name
        if not _leads_into(folder, file):
            raise StableQuantError(folder / RECORD, f"'{name}' leads out of the bundle", "do not trust it")
        if not file.is_file():
            raise StableQuantError(file, "missing from the bundle", "copy the bundle again")
        if checksum(file) != expected:
            raise StableQuantError(file, "not the file that the bundle was made with", "copy the bundle again")


def _leads_into(folder: Path, file: Path) -> bool:
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # no file can have that name, or links lead round in a circle
        return False


def read_bundle(folder: Path) -> Bundle:
    """Open a bundle; its front end is checked now, an engine when it is used, all else by `stablequant verify`."""
    if not (folder / RECORD).is_file():
        raise StableQuantError(
            folder, f"not a bundle: it holds no {RECORD}", "name results/MODEL/bundle or a copy of it"
        )
    record = read_json(folder / RECORD)
    if not isinstance(record, dict) or not isinstance(record.get("sha256"), dict):
        raise StableQuantError(folder / RECORD, "no checksums", "copy the bundle again")
    samples = record.get("samples", [])
    if not isinstance(samples, list) or not all(map(_is_sample, samples)):
        raise StableQuantError(folder / RECORD, "'samples' is malformed", "copy the bundle again")
    check(folder, record, "config.json")
    family = family_of(folder)
    for name in family.files(folder):
        check(folder, record, name)
    family.writing(folder)  # raises where these files are damaged
    return Bundle(folder, record, family)


def _is_sample(stored: Any) -> bool:
    return (
        isinstance(stored, dict) and isinstance(stored.get("file"), str) and isinstance(stored.get("hypotheses"), dict)
    )
