"""What came of a run, in words that a person can act on."""

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stablequant.engines.folder import EVALUATED
from stablequant.quantization.histograms import UNCLIPPED
from stablequant.recognisers.layer_table import read_modules
from stablequant.report.captions import with_interval
from stablequant.report.compare import NOT_MEASURABLE, read_comparison
from stablequant.search.gather_percentiles import best_percentiles
from stablequant.storage.files import read_json, read_table

ACCEPTABLE_LOSS = 1.0  # points of WER, as in the config's defaults and in nncf.quantize_with_accuracy_control
METHOD = "stablequant"
Row = Mapping[Hashable, Any]  # of comparison.tsv
USABLE_WER = 50.0  # percent; the same as the config's default of max_reference_wer for the calibration split
LEAST_ROOM = 0.02  # points of WER between a loss and what is acceptable, below which no audio would be enough
FEWEST_CHANGES = 3.0  # words: where none changed, up to 3 may still be expected in as many others (rule of three, 95 %)


@dataclass(frozen=True)
class FinishedRun:
    """What is told of a finished run.

    Attributes
    ----------
    results: folder of the model's results
    note: a sentence about the model or its data, from the config; blank if there is none
    acceptable: points of WER that an engine may lose and still be called safe to deploy
    plots: names of the plots that the run made; None takes all that lie there
    """

    results: Path
    note: str
    acceptable: float
    plots: Collection[str] | None = None


@dataclass(frozen=True)
class EngineVerdict:
    """Whether one backend's engine may take the place of fp32.

    Attributes
    ----------
    row, fp32: its row in ``comparison.tsv``, and that of fp32 on the same backend, if there is one
    safe: whether it surely loses no more than is acceptable; False also if that is not known
    sentence: why, and what to do
    notes: what else a person should know
    """

    row: Row
    fp32: Row | None
    safe: bool
    sentence: str
    notes: list[str]

    @property
    def ran(self) -> bool:
        """Whether the engine was evaluated."""
        return bool(self.row["status"] == EVALUATED)

    @property
    def measured(self) -> bool:
        """Whether its loss against fp32 is known."""
        return self.ran and bool(pd.notna(self.row["degradation"]))

    @property
    def summary(self) -> str:
        """Words, size and speed before and after; blank if the loss is not known."""
        row, fp32 = self.row, self.fp32
        if not self.measured or fp32 is None:
            return ""
        lost, interval = with_interval({name: row[name] for name in ("degradation", "ci_low", "ci_high")}).split(" ", 1)
        return (
            f"WER {fp32['wer']:.2f} % before and {row['wer']:.2f} % after quantization; it loses {lost} points "
            f"{interval.removesuffix(')')} at 95 %) of {int(row['words'])} words; size "
            f"{row['size_bytes'] / 1e6:.1f} MB, {row['size_ratio']:.2f} of fp32's{_speed(row)}"
        )


@dataclass(frozen=True)
class Verdict:
    """Whether a quantized recogniser may take the place of fp32.

    Attributes
    ----------
    engines: what was found of each backend's engine
    layers: sentences on the layers that were searched, clipped, or left in floating point
    """

    engines: list[EngineVerdict]
    layers: list[str]

    @property
    def safe(self) -> bool:
        """Whether an engine ran, and those that ran lose no more than is acceptable."""
        judged = [engine.safe for engine in self.engines if engine.ran]
        return bool(judged) and all(judged)

    @property
    def lines(self) -> list[str]:
        """What was found, for a terminal."""
        lines = []
        for engine in self.engines:
            if not engine.measured:
                lines.append(f"{engine.row['backend']}: {engine.sentence}")
                continue
            lines.append(f"{engine.row['backend']}: {engine.summary}")
            lines += [f"  {text}" for text in (*engine.notes, engine.sentence)]
        return lines + self.layers


def verdict(results: Path, acceptable: float) -> Verdict:
    """The verdict on the run in ``results``. ``acceptable`` is the loss in points of WER that may be possible."""
    rows = read_comparison(results / "comparison.tsv").to_dict("records")
    reference = {row["backend"]: row for row in rows if row["method"] == "fp32"}
    ours = [row for row in rows if row["method"] == METHOD]
    engines = [_judged(row, reference.get(row["backend"]), acceptable) for row in ours]
    return Verdict(engines, _layers(results, {row["backend"] for row in ours}))


def _judged(row: Row, fp32: Row | None, acceptable: float) -> EngineVerdict:
    if row["status"] != EVALUATED:
        return EngineVerdict(row, fp32, False, row["status"], [])
    if fp32 is None or pd.isna(row["degradation"]):
        return EngineVerdict(row, fp32, False, "cannot be judged: fp32 was not evaluated on this backend", [])
    if fp32["wer"] > USABLE_WER:
        return EngineVerdict(
            row,
            fp32,
            False,
            f"cannot be judged: fp32 itself has a WER of {fp32['wer']:.0f} % on the evaluation split; check that its "
            "transcripts and language are the recogniser's",
            _notes(row),
        )
    by_speakers = row["ci_over"] == "speakers"
    interval = (row["ci_low"], row["ci_high"])
    safe, sentence = judge(row["degradation"], *interval, int(row["words"]), acceptable, by_speakers)
    return EngineVerdict(row, fp32, safe, sentence, _notes(row))


def _speed(row: Row) -> str:
    speed, new = row["speedup"], row["new_speedup"]
    if pd.isna(speed):
        return ""
    if speed == NOT_MEASURABLE:
        known, joined = "; a difference in speed is not measurable", "; it is {} times as fast"
    else:
        known = f"; {speed:.1f} times as fast ({row['speedup_low']:.1f} to {row['speedup_high']:.1f})"
        joined = ", {} times"
    if pd.isna(new) or new == NOT_MEASURABLE:
        return known
    return f"{known}{joined.format(f'{new:.1f}')} at lengths that it meets for the first time"


def _notes(row: Row) -> list[str]:
    if "int8" in str(row["arithmetic"]):
        return []
    return [
        f"no gain in speed here: this CPU runs it in {row['arithmetic']}; CPUs with VNNI (2019 or newer) run it in INT8"
    ]


def judge(
    loss: float, low: float, high: float, words: int, acceptable: float, by_speakers: bool = False
) -> tuple[bool, str]:
    """Whether a loss with its interval, in points of WER, is surely at most ``acceptable``; and a sentence about it.

    ``words`` were heard. A bootstrap's interval is empty where no word changed, so it is never taken for narrower than
    `FEWEST_CHANGES` words. ``by_speakers`` says that the interval is over speakers, so that more of them would be
    needed to make it narrower.
    """
    measured, high = high, max(high, 100 * FEWEST_CHANGES / max(words, 1))
    limit = f"{acceptable:g} point{'' if acceptable == 1 else 's'}"
    keep = "leave the layers that lose most in floating point (--unrecovered keep), unless they are already"
    if high <= acceptable:
        return True, (
            f"safe to deploy: on speech like the evaluation split it loses at most {high:.2f} points; up to {limit} "
            "counts as acceptable"
        )
    if low > acceptable:
        return False, (
            f"not safe to deploy: it loses more than {limit}; {keep}, or take calibration audio that is more like the "
            "evaluation split"
        )
    if loss > acceptable:
        return False, f"not safe to deploy: it seems to lose more than {limit}; {keep}, or take more calibration audio"
    unproven = f"not proven safe: the evaluation split is too small to rule out a loss of more than {limit}"
    if acceptable - loss < LEAST_ROOM:
        return False, f"{unproven}; the loss is so near to it that no amount of audio would"
    needed = max(words * ((measured - loss) / (acceptable - loss)) ** 2, 100 * FEWEST_CHANGES / acceptable)
    speakers = ", by as many times more speakers" if by_speakers else ""
    return False, f"{unproven}; about {_rounded(needed)} words would do{speakers} ({words} were heard)"


def _rounded(number: float) -> int:
    """``number`` with two digits that count, never less than it."""
    unit: int = 10 ** max(len(str(int(number))) - 2, 0)
    return math.ceil(number / unit) * unit


def _layers(results: Path, backends: Collection[str]) -> list[str]:
    scales = read_json(results / f"scales/{METHOD}.json")
    searched = best_percentiles(read_table(results / "percentiles.tsv"))
    kept: Sequence[str] = scales["float_layers"]
    used: dict[str, float] = {row["layer"]: row["percentile"] for row in scales["activations"].values()}
    chosen = [
        f"{layer} (in floating point)" if layer in kept else f"{layer} at {used.get(layer, percentile):g} %"
        for layer, percentile in searched.items()
    ]
    carried = {name: len(row["carried"]) for name, row in scales["activations"].items() if row["carried"]}
    massive = [f"{number} that enter {name}" for name, number in carried.items()]
    modules = read_modules(results / "layers.tsv")
    scored = list(dict.fromkeys(m.layer for m in modules if m.output_activation in scales["activations"]))
    elsewhere = "; ONNX Runtime multiplies them in floating point" if "onnxruntime" in backends else ""
    return [
        f"layers searched: {_listed(chosen) or 'none; no layer lost more than the threshold'}",
        *_others(used, searched),
        *(
            [f"channels that reach far beyond the rest, carried as two INT8 numbers: {_listed(massive)}"]
            if massive
            else []
        ),
        *([f"queries and keys of attention in INT8, too: in {_listed(scored)}{elsewhere}"] if scored else []),
        f"layers left in floating point: {_listed(kept) or 'none'}",
    ]


def _others(used: Mapping[str, float], searched: Iterable[str]) -> list[str]:
    """The cut-offs of layers that needed no search: usually one in common, by which rare outliers are clipped."""
    others = {layer: percentile for layer, percentile in used.items() if layer not in set(searched)}
    cut = sorted({percentile for percentile in others.values() if percentile < UNCLIPPED})
    if not cut:
        return []
    number = sum(percentile < UNCLIPPED for percentile in others.values())
    return [f"layers that needed no search: {number} share a cut-off at {' or '.join(f'{p:g}' for p in cut)} %"]


def sentence(text: str) -> str:
    """``text`` with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
