"""An engine is judged by its words."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stablequant.corpora.utterance import Utterance
from stablequant.engines.evaluate_engine import evaluate, hypothesis_table, recognise
from stablequant.engines.running import Stopwatch
from stablequant.errors import StableQuantError
from stablequant.recognisers.decoder import NotFiniteError
from stablequant.storage.files import checksum

RATE = 8000


@pytest.fixture
def utterances(tmp_path) -> list[Utterance]:
    """Two of a second and one of half a second."""
    found = []
    for name, samples in (("a", RATE), ("b", RATE), ("c", RATE // 2)):
        path: Path = tmp_path / f"{name}.wav"
        soundfile.write(path, np.full(samples, 0.5), RATE, subtype="FLOAT")
        found.append(Utterance(name, str(path), samples, "ONE TWO", checksum(path)))
    return found


class Scripted:
    """Takes the seconds it is told for a run, half for each of two batches, and says what it is told."""

    def __init__(self, clock: Stopwatch, seconds: Sequence[float], words: Iterator[str]) -> None:
        self._clock, self._words = clock, words
        self._seconds = iter([part for run in seconds for part in (run / 2, run / 2)])
        self.lengths: list[list[int]] = []

    def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
        self.lengths.append([len(samples) for samples in audio])
        self._clock.seconds += next(self._seconds)
        return [next(self._words) for _ in audio]


def test_words_and_the_time_inside_the_engine_are_told(utterances):
    """Also where the clock did not start at zero."""
    clock = Stopwatch()
    clock.seconds = 100.0
    decoder = Scripted(clock, [1.0], iter(["ONE TWO", "ONE", "TWO"]))
    batches = [utterances[:2], utterances[2:]]
    found = evaluate(decoder, clock, utterances, batches, RATE)
    assert found.wall_seconds == pytest.approx(1.0)
    assert found.audio_seconds == 2.5
    assert found.hypotheses == {u.path: words for u, words in zip(utterances, ["ONE TWO", "ONE", "TWO"], strict=True)}
    assert found.scored.errors.tolist() == [0, 1, 1]
    assert decoder.lengths == [[RATE, RATE], [RATE // 2]]


def test_parts_of_one_file_have_hypotheses_of_their_own(utterances):
    clock = Stopwatch()
    first = replace(utterances[0], samples=RATE // 2, start=0.0, stop=0.5)
    last = replace(first, utterance="last", start=0.5, stop=1.0, transcript="ONE")
    decoder = Scripted(clock, [1.0], iter(["ONE TWO", "ONE"]))
    found = evaluate(decoder, clock, [first, last], [[first], [last]], RATE)
    assert decoder.lengths == [[RATE // 2]] * 2
    assert found.scored.errors.tolist() == [0, 0]
    table = hypothesis_table([first, last], found.hypotheses)
    assert table.values.tolist() == [["a", "ONE TWO", "ONE TWO"], ["last", "ONE", "ONE"]]


def test_audio_that_gives_no_numbers_is_named(utterances):
    class Broken:
        def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
            raise NotFiniteError(1)

    with pytest.raises(StableQuantError, match=r"b\.wav: the network's output contains NaN or infinity"):
        recognise(Broken(), [utterances], RATE, "test")


def test_a_table_of_what_was_recognised(utterances):
    table = hypothesis_table(utterances, {utterances[1].path: "ONE"})
    assert table.to_dict("records") == [{"utterance": "b", "transcript": "ONE TWO", "hypothesis": "ONE"}]
    assert list(hypothesis_table(utterances, {}).columns) == ["utterance", "transcript", "hypothesis"]
