"""Write a bundle: one folder with everything needed to use a quantized recogniser elsewhere.

Graphs, networks and tokens lie where other libraries look for them, see `Family.published`. No file is there twice: an
engine's ``engine.json`` says where its networks lie. ONNX Runtime's engine may have graphs of its own.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from stablequant.bundle.read_bundle import CARD, RECORD, StoredSample
from stablequant.engines.folder import DESCRIPTION, read_engine
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import (
    checksum,
    data_beside,
    graph_files,
    replacing_folder,
    write_json,
    write_text,
)
from stablequant.workflow.provenance import checksums

MARK = ".snakemake_timestamp"  # Snakemake writes this file into folders


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
    record: how the model was quantized; it is written with the checksums of all other files but the card
    card: the model card, see `stablequant.bundle.card`
    samples: utterances for `stablequant.bundle.verify`
    """
    family = family_of(checkpoint)
    published = family.published(checkpoint)
    places = {file: name for name, file in published.items()}
    with replacing_folder(folder) as making:
        for name, source in graph_files(graph, list(family.signatures(checkpoint))).items():
            _copy_graph(source, making / places.get(f"{name}.onnx", f"{name}.onnx"))
        for name in family.files(checkpoint):
            shutil.copyfile(checkpoint / name, making / name)
        for name, file in published.items():
            if (checkpoint / file).is_file():
                shutil.copyfile(checkpoint / file, making / name)
        for backend, engine in engines.items():
            shutil.copytree(engine, making / "engines" / backend, ignore=shutil.ignore_patterns(MARK))
            _share_networks(making, backend, places)
        stored: list[StoredSample] = []
        for number, sample in enumerate(samples):
            name = f"samples/{number}{sample.audio.suffix if sample.part is None else '.wav'}"
            (making / name).parent.mkdir(exist_ok=True)
            if sample.part is None:
                shutil.copyfile(sample.audio, making / name)
            else:
                soundfile.write(making / name, *sample.part, subtype="FLOAT")  # exactly what was recognised
            stored.append({"file": name, "transcript": sample.transcript, "hypotheses": dict(sample.hypotheses)})
        sums = checksums(making)
        write_json(making / RECORD, {**record, "samples": stored, "sha256": sums})
        write_text(making / CARD, card)


def _copy_graph(source: Path, copy: Path) -> None:
    """Copy an ONNX graph. A graph names the file of its weights, so one with such a file is written anew."""
    copy.parent.mkdir(exist_ok=True)
    if not data_beside(source).is_file():
        shutil.copyfile(source, copy)
        return
    from stablequant.storage.onnx_graph import load_graph, save_graph

    save_graph(load_graph(source), copy)


def _share_networks(bundle: Path, backend: str, places: Mapping[str, str]) -> None:
    """Move the networks of an engine in ``bundle`` to their ``places``, and write these into its description.

    A network that is the same file as a graph of the bundle is removed.
    """
    engine = bundle / "engines" / backend
    moved = {}
    for file in sorted(engine.iterdir()):
        place, graph = places.get(f"engines/{backend}/{file.name}"), bundle / places.get(file.name, file.name)
        if place is not None:
            graph = bundle / place
            graph.parent.mkdir(exist_ok=True)
            file.rename(graph)
        elif file.suffix == ".onnx" and graph.is_file() and checksum(graph) == checksum(file):
            file.unlink()
        else:
            continue
        moved[file.name] = os.path.relpath(graph, engine)
    if moved:
        write_json(engine / DESCRIPTION, {**read_engine(engine), "files": moved})
