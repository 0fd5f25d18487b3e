"""Utterances that are parts of one recording go through the search as if each had a file of its own."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from calibrating import calibrate
from recognising import Loaded, split_in

from stablequant.corpora.utterance import Utterance, load_audio
from stablequant.search.racing_order import split_at_decisions
from stablequant.search.trials import Experiment, Trial, run_trials
from stablequant.storage.files import checksum, read_json


@pytest.fixture
def alone(tmp_path) -> list[Utterance]:
    """Noise of three lengths, in three files."""
    draw = np.random.default_rng(7)
    listed = []
    for name, samples in (("a", 8_000), ("b", 12_000), ("c", 12_000)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, draw.normal(scale=0.1, size=samples), 16_000, subtype="FLOAT")
        listed.append(Utterance(name, str(path), samples, "A B", checksum(path)))
    return listed


def as_parts(folder: Path, alone: list[Utterance]) -> list[Utterance]:
    """The same audio in one file."""
    path = folder / "all.wav"
    soundfile.write(path, np.concatenate([load_audio(u, 16_000) for u in alone]), 16_000, subtype="FLOAT")
    ends = np.cumsum([0, *(u.samples for u in alone)]) / 16_000
    return [
        Utterance(u.utterance, str(path), u.samples, u.transcript, checksum(path), None, float(start), float(stop))
        for u, start, stop in zip(alone, ends, ends[1:], strict=False)
    ]


def test_parts_are_measured_as_files_are(tmp_path, tiny: Loaded, alone):
    parts = as_parts(tmp_path, alone)
    measured = []
    for name, utterances in (("alone", alone), ("parts", parts)):
        (tmp_path / name).mkdir()
        calibrated = calibrate(tiny.recogniser(), split_in(tiny, utterances), tmp_path / name)
        trial = Trial(calibrated.largest, calibrated.calibration)
        run_trials(calibrated.recogniser, [Experiment(calibrated.of("head"), [trial])], calibrated.calibration)
        summary = read_json(tmp_path / name / "reference.json")
        rows = [(row["words"], row["errors"], row["hypothesis"]) for row in summary["utterances"]]
        measured.append((rows, trial.outcome().errors, trial.outcome().divergences))
        assert sorted(calibrated.calibration.reference.posteriors.names) == sorted(u.key for u in utterances)
    assert measured[0] == measured[1]
    assert len(set(measured[0][2])) == 3, "each utterance has audio of its own"


def test_parts_are_drawn_one_by_one(tmp_path, tiny: Loaded, alone):
    parts = as_parts(tmp_path, alone)
    split = split_in(tiny, parts)
    assert len([u for batch in split.sample(0.4) for u in batch]) == 1
    assert split.digest != split_in(tiny, list(reversed(parts))).digest
    ordered = [u.key for part in split_at_decisions(parts, 0) for u in part]
    assert sorted(ordered) == sorted(u.key for u in parts)
