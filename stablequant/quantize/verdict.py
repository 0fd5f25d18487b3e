"""What came of a run, in words that a person can act on."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stablequant.engines.folder import EVALUATED
from stablequant.report.compare import NOT_MEASURABLE, read_comparison
from stablequant.search.gather_percentiles import best_percentiles
from stablequant.storage.files import read_json, read_table

ACCEPTABLE_LOSS = 1.0  # points of WER; the same as the default of nncf.quantize_with_accuracy_control (max_drop 0.01)
METHOD = "stablequant"
Row = Mapping[Hashable, Any]  # of comparison.tsv
USABLE_WER = 50.0  # percent; the same as the config's default of max_reference_wer for the calibration split
FEWEST_CHANGES = 3.0  # words: where none changed, up to 3 may still be expected in as many others (rule of three, 95 %)


@dataclass(frozen=True)
class Verdict:
    """Whether a quantized recogniser may take the place of fp32.

    Attributes
    ----------
    safe: whether the engines that ran lose no more than is acceptable
    lines: what was found, for people
    """

    safe: bool
    lines: list[str]


def verdict(results: Path, acceptable: float) -> Verdict:
    """The verdict on the run in ``results``. ``acceptable`` is the loss in points of WER that may be possible."""
    rows = read_comparison(results / "comparison.tsv").to_dict("records")
    reference = {row["backend"]: row for row in rows if row["method"] == "fp32"}
    lines: list[str] = []
    judgements: list[bool] = []
    for row in (row for row in rows if row["method"] == METHOD):
        if row["status"] != EVALUATED:
            lines.append(f"{row['backend']}: {row['status']}")
            continue
        fp32 = reference[row["backend"]]
        lines.append(_measured(row, fp32))
        lines += [f"  {note}" for note in _notes(row)]
        judgement, remedy = _judged(row, fp32, acceptable)
        judgements.append(judgement)
        lines.append(f"  {remedy}")
    lines += _layers(results)
    safe = bool(judgements) and all(judgements)
    return Verdict(safe, lines)


def _measured(row: Row, fp32: Row) -> str:
    return (
        f"{row['backend']}: WER {fp32['wer']:.2f} % before and {row['wer']:.2f} % after quantization; it loses "
        f"{row['degradation']:.2f} points ({row['ci_low']:.2f} to {row['ci_high']:.2f} at 95 %) of {int(row['words'])} "
        f"words; size {row['size_bytes'] / 1e6:.1f} MB, {row['size_ratio']:.2f} of fp32's" + _speed(row)
    )


def _speed(row: Row) -> str:
    speed, new = row["speedup"], row["new_speedup"]
    if pd.isna(speed):
        return ""
    if speed == NOT_MEASURABLE:
        return "; a difference in speed is not measurable"
    told = f"; {speed:.1f} times as fast ({row['speedup_low']:.1f} to {row['speedup_high']:.1f})"
    return told if new == NOT_MEASURABLE else f"{told}, {new:.1f} times at lengths that it meets for the first time"


def _notes(row: Row) -> list[str]:
    if "int8" in str(row["arithmetic"]):
        return []
    return [
        f"no gain in speed here: this CPU runs it in {row['arithmetic']}; CPUs with VNNI (2019 or newer) run it in INT8"
    ]


def _judged(row: Row, fp32: Row, acceptable: float) -> tuple[bool, str]:
    if fp32["wer"] > USABLE_WER:
        return False, (
            f"cannot be judged: fp32 itself has a WER of {fp32['wer']:.0f} % on the evaluation split; check that its "
            "transcripts and language are the recogniser's"
        )
    return judge(row["degradation"], row["ci_low"], row["ci_high"], int(row["words"]), acceptable)


def judge(loss: float, low: float, high: float, words: int, acceptable: float) -> tuple[bool, str]:
    """Whether a loss with its interval, in points of WER, is surely at most ``acceptable``; and a sentence about it.

    ``words`` were heard. A bootstrap's interval is empty where no word changed, so it is never taken for narrower than
    `FEWEST_CHANGES` words.
    """
    measured, high = high, max(high, 100 * FEWEST_CHANGES / max(words, 1))
    if high <= acceptable:
        return True, f"safe to deploy: on speech like the evaluation split it loses at most {high:.2f} points"
    if low > acceptable:
        return False, (
            f"not safe to deploy: it loses more than {acceptable:g} points; try --unrecovered keep, which leaves the "
            "layers that lose most in floating point, or calibration audio that is more like the evaluation split"
        )
    if loss > acceptable:
        return False, (
            f"not safe to deploy: it seems to lose more than {acceptable:g} points; try --unrecovered keep, or more "
            "calibration audio"
        )
    needed = max(
        words * ((measured - loss) / max(acceptable - loss, 1e-3)) ** 2, 100 * FEWEST_CHANGES / max(acceptable, 1e-3)
    )
    return False, (
        f"not proven safe: the evaluation split is too small to rule out a loss of more than {acceptable:g} points; "
        f"about {_rounded(needed)} words would do ({words} were heard)"
    )


def _rounded(number: float) -> int:
    """``number`` with two digits that count, never less than it."""
    unit: int = 10 ** max(len(str(int(number))) - 2, 0)
    return math.ceil(number / unit) * unit


def _layers(results: Path) -> list[str]:
    best = best_percentiles(read_table(results / "percentiles.tsv"))
    chosen = [f"{layer} at {percentile:g} %" for layer, percentile in best.items()]
    kept: Sequence[str] = read_json(results / f"scales/{METHOD}.json")["float_layers"]
    return [
        f"layers searched: {_listed(chosen) or 'none; no layer lost more than the threshold'}",
        f"layers left in floating point: {_listed(kept) or 'none'}",
    ]


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
