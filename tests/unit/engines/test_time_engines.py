"""Engines that take turns: differences are told, noise is not."""

from collections.abc import Sequence

import numpy as np
import pytest

from stablequant.corpora.utterance import Utterance
from stablequant.engines import turns
from stablequant.engines.time_engines import REFERENCE, TWIN, compare_rates, spread_over_lengths, time_engines

RATE = 1000


class Clock:
    """Stands still but for what engines add, so that a busy machine does not matter."""

    def __init__(self) -> None:
        self.now = 0.0
        self._draw = np.random.default_rng(0)

    def work(self, seconds: float) -> None:
        """Pass ``seconds``, more or less, as on a machine that others use, too."""
        self.now += seconds * np.exp(self._draw.normal(0, 0.1))


@pytest.fixture
def clock(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(turns.time, "perf_counter", lambda: found.now)
    return found


class Engine:
    """Recognises in ``seconds``, and needs ``preparing`` more for a length that it meets for the first time."""

    def __init__(self, clock: Clock, seconds: float, preparing: float = 0.0) -> None:
        self._clock, self._seconds, self._preparing = clock, seconds, preparing
        self.lengths: list[int] = []

    def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
        known = len(audio[0]) in self.lengths
        self.lengths.append(len(audio[0]))
        self._clock.work(self._seconds + (0 if known else self._preparing))
        return ["ONE"]


def test_a_faster_engine_is_told_from_an_equal_one_and_new_lengths_from_known_ones(clock):
    alike = {name: Engine(clock, 2) for name in (REFERENCE, TWIN, "same")}
    engines = alike | {"max": Engine(clock, 1, preparing=3)}
    recordings = [np.zeros(samples, dtype=np.float32) for samples in (1000, 1000, 1500)]
    table = time_engines("openvino", engines, recordings, RATE, 10, rounds=8, seed=0).set_index("method")
    assert set(table["status"]) == {"timed"}
    fast, reference = table.loc["max"], table.loc[REFERENCE]
    assert 1.5 < fast["speedup_low"] <= fast["speedup"] <= fast["speedup_high"]
    assert fast["speedup"] == pytest.approx(2, rel=0.1)
    assert fast["new_speedup"] == pytest.approx(0.5, rel=0.1) and fast["new_speedup_high"] < 1
    assert table.loc["same", "speedup_low"] < 1 < table.loc["same", "speedup_high"]
    assert reference["speedup_low"] < reference["speedup"] == 1 < reference["speedup_high"] < 1.2
    assert reference["rtfx"] == pytest.approx(0.55, rel=0.2)
    lengths = engines["max"].lengths
    assert all(lengths.count(length) == 2 for length in lengths), "once new, once known"
    assert all(900 <= length <= 1000 or 1350 <= length <= 1500 for length in lengths)


def test_no_difference_smaller_than_that_of_identical_engines_is_told():
    """Where the second copy of fp32 runs at 1.3 times the speed of the first, 1.2 times mean nothing."""
    reference = np.full(50, 10.0)
    rates = {REFERENCE: reference, TWIN: 13 * np.ones(50), "max": 12 * np.ones(50), "stablequant": 20 * np.ones(50)}
    found = compare_rates(rates, seed=0)
    assert found["max"].low < 1 < found["max"].high
    assert found["stablequant"].low == pytest.approx(2 / 1.3)
    assert found["stablequant"].high == pytest.approx(2 * 1.3)
    assert found[REFERENCE] == pytest.approx((1, 1 / 1.3, 1.3))


def test_turns_that_differ_widen_the_interval():
    draw = np.random.default_rng(0)
    reference = np.full(40, 10.0)
    steady = {REFERENCE: reference, TWIN: reference, "max": 10.5 * np.ones(40)}
    noisy = steady | {"max": 10.5 * np.exp(draw.normal(0, 0.5, 40))}
    assert compare_rates(steady, seed=0)["max"].low > 1
    assert compare_rates(noisy, seed=0)["max"].low < 1


def test_an_engine_that_contradicts_itself_is_refused(clock):
    class Fickle(Engine):
        def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
            super().recognise(audio)
            return [str(len(self.lengths))]

    engines = {REFERENCE: Engine(clock, 1), TWIN: Engine(clock, 1), "max": Fickle(clock, 1)}
    with pytest.raises(RuntimeError, match="max recognised the same audio differently in two turns"):
        time_engines("openvino", engines, [np.zeros(1000, dtype=np.float32)], RATE, 10, rounds=1, seed=0)


def test_the_audio_is_spread_over_the_lengths():
    utterances = [Utterance(str(n), f"{n}.wav", n * RATE, "ONE", "") for n in range(1, 101)]
    chosen = spread_over_lengths(utterances[::-1], audio_seconds=202, sample_rate=RATE)
    assert [u.samples // RATE for u in chosen] == [13, 38, 63, 88]
    assert spread_over_lengths(utterances, audio_seconds=1e9, sample_rate=RATE) == utterances
    assert len(spread_over_lengths(utterances, audio_seconds=1, sample_rate=RATE)) == 1
