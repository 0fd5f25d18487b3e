"""A finished bundle (make run), and what StableQuant itself recognises with it."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from stablequant.bundle.read_bundle import read_bundle  # noqa: E402
from stablequant.engines.onnxruntime import load_network  # noqa: E402
from stablequant.engines.running import load_engine  # noqa: E402

COUNT = 100  # utterances
Recordings = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The demo's bundle; another folder of results can be named in the environment."""
    folder = Path(os.environ.get("INTEROP_RESULTS", PROJECT / "results/demo")) / "bundle"
    assert folder.is_dir(), f"{folder} is missing: make run"
    return folder


@pytest.fixture(scope="session")
def recordings() -> Recordings:
    """The first utterances of the demo's evaluation split, float32 ``(samples,)``, by file name."""
    root, *rows = (PROJECT / "tsv/demo-evaluation.tsv").read_text().splitlines()
    paths = [row.split("\t")[0] for row in rows[:COUNT]]
    return {path: soundfile.read(PROJECT / root / path, dtype="float32")[0] for path in paths}


@pytest.fixture(scope="session")
def transcripts(recordings) -> list[str]:
    """What is said in them."""
    folder = PROJECT / (PROJECT / "tsv/demo-evaluation.tsv").read_text().partition("\n")[0]
    files = sorted({file for path in recordings for file in (folder / path).parent.glob("*.trans.txt")})
    said = dict(line.split(maxsplit=1) for file in files for line in file.read_text().splitlines())
    return [said[Path(path).stem] for path in recordings]


@pytest.fixture(scope="session")
def by_openvino(bundle, recordings) -> dict[str, list[str]]:
    """The words that our OpenVINO engine recognises, by file name."""
    opened = read_bundle(bundle)
    engine = opened.engine("openvino")
    decoder = opened.family.decoder(engine, load_engine(engine, 0).networks)
    return {path: decoder.recognise([samples])[0].split() for path, samples in recordings.items()}


@pytest.fixture(scope="session")
def by_onnxruntime(bundle, recordings) -> dict[str, list[str]]:
    """The words that we recognise with the bundle's ONNX graph, by file name."""
    opened = read_bundle(bundle)
    (name, signature), *_ = opened.family.signatures(bundle).items()
    place = next(place for place, file in opened.family.published(bundle).items() if file == f"{name}.onnx")
    network, _ = load_network(bundle / place, signature, 0)
    decoder = opened.family.decoder(bundle, {name: network})
    return {path: decoder.recognise([samples])[0].split() for path, samples in recordings.items()}
