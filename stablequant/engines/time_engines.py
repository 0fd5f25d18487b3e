"""Time the engines of one backend: they take turns on the same audio, one utterance at a time.

Each turn is a whole recognition, from samples to text. In every round each utterance is cut to a length that no engine
has met before. All engines recognise it twice: the first time the length is new, the second time it is known. Engines
prepare kernels for a new length, so both times are told apart.

The engine of fp32 is loaded twice. The two copies are identical, so the difference between them is a measure of noise
(see `Speedup`).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from stablequant.corpora.utterance import Utterance
from stablequant.engines.turns import take_turns
from stablequant.progress import progress
from stablequant.recognisers.decoder import Decoder

REFERENCE = "fp32"
TWIN = "fp32 again"  # the same engine, loaded a second time
CUT = 0.1  # most of an utterance that is cut off to get a new length
RESAMPLES = 2000
SPEEDS = [
    *("rtfx", "speedup", "speedup_low", "speedup_high"),
    *("new_rtfx", "new_speedup", "new_speedup_low", "new_speedup_high"),
]
COLUMNS = ["backend", "method", "status", *SPEEDS]


class Speedup(NamedTuple):
    """How many times as fast as the reference an engine is, with the ends of a 95 % interval.

    The median over all turns, with a bootstrap interval over turns. The interval is then widened on both sides by the
    noise: the end of the interval between two identical copies of the reference that is farther from 1. The interval of
    the reference itself shows this noise.
    """

    factor: float
    low: float
    high: float


def spread_over_lengths(utterances: Sequence[Utterance], audio_seconds: float, sample_rate: int) -> list[Utterance]:
    """Some of ``utterances`` of ``audio_seconds`` in all, about, whose lengths are spread as those of all are."""
    ordered = sorted(utterances, key=lambda u: (u.samples, u.key))
    mean = sum(u.samples for u in ordered) / len(ordered) / sample_rate
    count = min(len(ordered), max(1, round(audio_seconds / mean)))
    return [ordered[int((place + 0.5) * len(ordered) / count)] for place in range(count)]


def time_engines(
    backend: str,
    decoders: Mapping[str, Decoder],
    recordings: Sequence[np.ndarray],
    sample_rate: int,
    shortest: int,
    rounds: int,
    seed: int,
) -> pd.DataFrame:
    """One row per engine with the columns `COLUMNS`, all numbers medians over turns.

    Parameters
    ----------
    decoders: by method; among them `REFERENCE` and `TWIN`, or there are no speedups
    recordings: float32 ``(samples,)`` each
    sample_rate: in Hz
    shortest: fewest samples that a recogniser takes
    rounds: turns of each engine on each recording
    seed: of the lengths, the order of turns and the bootstrap

    ``rtfx`` is in seconds of audio per second, ``speedup`` against the reference; ``new_`` are those at lengths that
    the engine meets for the first time.

    Raises
    ------
    RuntimeError
        when an engine recognises the same audio differently in two turns.
    """
    draw = np.random.default_rng(seed)
    used: set[int] = set()
    rates: dict[str, dict[str, list[float]]] = {prefix: {name: [] for name in decoders} for prefix in ("new_", "")}
    for _ in progress(range(rounds), label=f"timing {backend}"):
        for recording in recordings:
            samples = recording[: _new_length(len(recording), shortest, used, draw)]
            engines = {name: partial(decoder.recognise, [samples]) for name, decoder in decoders.items()}
            first, again = take_turns(engines, draw), take_turns(engines, draw)
            for name in decoders:
                if first[name].result != again[name].result:
                    raise RuntimeError(f"the engine of {name} recognised the same audio differently in two turns")
                rates["new_"][name].append(len(samples) / sample_rate / first[name].seconds)
                rates[""][name].append(len(samples) / sample_rate / again[name].seconds)
    rows: dict[str, dict[str, object]] = {
        name: {"backend": backend, "method": name, "status": "timed"} for name in decoders
    }
    for prefix, found in rates.items():
        speedups = compare_rates(found, seed) if REFERENCE in found and TWIN in found else {}
        for name, row in rows.items():
            row[f"{prefix}rtfx"] = float(np.median(found[name]))
            if name in speedups:
                ends = (f"{prefix}speedup{end}" for end in ("", "_low", "_high"))
                row |= dict(zip(ends, speedups[name], strict=True))
    return pd.DataFrame(list(rows.values()), columns=COLUMNS)


def compare_rates(rates: Mapping[str, Sequence[float]], seed: int) -> dict[str, Speedup]:
    """The speedup of each engine; ``rates`` are in seconds of audio per second, by name, in the same turns."""
    reference = np.array(rates[REFERENCE])
    drawn = np.random.default_rng(seed).integers(len(reference), size=(RESAMPLES, len(reference)))

    def against_reference(name: str) -> Speedup:
        ratios = np.array(rates[name]) / reference
        low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
        return Speedup(float(np.median(ratios)), float(low), float(high))

    twin = against_reference(TWIN)
    noise = max(twin.high, 1 / twin.low)
    found = {REFERENCE: Speedup(1.0, 1 / noise, noise)}
    for name in rates.keys() - {REFERENCE}:
        factor, low, high = against_reference(name)
        found[name] = Speedup(factor, low / noise, high * noise)
    return found


def not_timed(backend: str, methods: Sequence[str], status: str) -> pd.DataFrame:
    """The same table where no engine of ``backend`` could be timed; ``status`` says why."""
    rows = [{"backend": backend, "method": method, "status": status} for method in methods]
    return pd.DataFrame(rows, columns=COLUMNS)


def _new_length(samples: int, shortest: int, used: set[int], draw: np.random.Generator) -> int:
    """A length of at most ``samples`` that is not among ``used``, and is added to it; ``samples`` if there is none."""
    least = min(samples, max(shortest, int((1 - CUT) * samples)))
    free = [length for length in range(least, samples + 1) if length not in used]
    chosen = int(draw.choice(free)) if free else samples
    used.add(chosen)
    return chosen
