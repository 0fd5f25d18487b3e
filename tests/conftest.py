"""Fixtures that several tests share: the demo, a tiny random recogniser, and a finished run of the workflow."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from checkout import DEMO, PROJECT
from listing import write_librispeech
from recognising import Loaded
from running import Run, run_whole
from watching import Job, Watched
from wav2vec2_files import write_tiny_checkpoint

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.storage.files import read_json, write_json
from stablequant.storage.locks import locked

collect_ignore = ["interop"]  # needs other versions of the packages, see make test-interop
os.environ |= dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost")  # the tests' own servers


@pytest.fixture(scope="session")
def demo() -> Loaded:
    return Loaded.load(DEMO)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Loaded:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_checkpoint(folder / "source")
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    return Loaded.load(folder / "checkpoint")


@pytest.fixture(scope="session")
def demo_utterances() -> list[Utterance]:
    """Every third utterance of the demo's calibration split."""
    manifest = read_manifest(PROJECT / "tsv/demo-calibration.tsv")
    chosen = manifest.entries[::3]
    utterances, rejections = list_utterances(type(manifest)(PROJECT / manifest.root, chosen), read_front_end(DEMO))
    assert not rejections
    return utterances


@pytest.fixture
def speech(tmp_path) -> list[Path]:
    """Four recordings, laid out as LibriSpeech below ``tmp_path``, and their manifest."""
    return write_librispeech(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _in_project():
    os.chdir(PROJECT)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Callable[[str], AbstractContextManager[Path]]:
    """Opens a folder by its name, which the processes that test in parallel share; one at a time."""
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place

    @contextmanager
    def opened(name: str) -> Iterator[Path]:
        with locked(place / name):
            yield place / name

    return opened


@pytest.fixture(scope="session")
def run(shared_folder) -> Run:
    """One undisturbed run of the whole DAG, watched."""
    with shared_folder("run") as shared:
        if not (shared / "run.json").is_file():
            shutil.rmtree(shared, ignore_errors=True)
            write_json(shared / "run.json", asdict(run_whole(shared / "project")) | {"folder": "project"})
    stored = read_json(shared / "run.json")
    jobs = {int(process): Job(**job) for process, job in stored["watched"]["jobs"].items()}
    watched = Watched(jobs, stored["watched"]["peak_mb"])
    return Run(shared / "project", stored["printed"], watched, stored["isolated"])


@pytest.fixture(scope="session")
def finished(run) -> Path:
    """A project after the whole DAG; nobody changes it."""
    return run.folder


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of the finished run, with its times and Snakemake's records, to edit."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    shutil.copytree(finished / ".snakemake", folder / ".snakemake", dirs_exist_ok=True)
    for split in ("calibration", "evaluation"):
        assert str(finished) in (folder / f"tsv/{split}.tsv").read_text()
    return folder
