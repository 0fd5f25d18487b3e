"""All evaluations of a model in one table."""

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd

from stablequant.engines.folder import EVALUATED
from stablequant.engines.time_engines import REFERENCE, SPEEDS
from stablequant.scoring.intervals import degradation_interval
from stablequant.scoring.word_errors import WordErrors, degradation
from stablequant.storage.files import read_table

NOT_MEASURABLE = "not measurable"
COLUMNS = [
    *("backend", "method", "wer", "degradation", "ci_low", "ci_high", "ci_over", "words"),
    *("size_bytes", "size_ratio", "onnx_bytes", "onnx_ratio"),
    *("audio_seconds", "wall_seconds"),
    *SPEEDS,
    *("float_layers", "arithmetic", "machine", "status"),
]


class EvaluationRecord(TypedDict):
    """What the comparison needs of ``evaluation/{backend}/{method}.json``.

    Attributes
    ----------
    size_bytes, onnx_bytes: size of the engine and of its ONNX graphs
    float_layers: number of layers that are not quantized
    arithmetic: arithmetic of the quantized layers on this machine; None if the engine did not run
    status: `EVALUATED`, or why the engine did not run; the values below exist only if it ran
    errors, words: word errors, and words of the transcript, by utterance
    speakers: who speaks, by utterance; None if that is not known of all
    machine: the CPU that it ran on, or `GPU`; records of earlier versions lack it
    """

    backend: str
    method: str
    size_bytes: int
    onnx_bytes: int
    float_layers: int
    arithmetic: str | None
    status: str
    errors: NotRequired[list[int]]
    words: NotRequired[list[int]]
    speakers: NotRequired[list[str] | None]
    audio_seconds: NotRequired[float]
    wall_seconds: NotRequired[float]
    machine: NotRequired[str]


def compare(
    evaluations: Sequence[EvaluationRecord], timings: Sequence[Mapping[Hashable, Any]], seed: int
) -> pd.DataFrame:
    """One row per backend and method with the columns `COLUMNS`.

    ``wer`` is in percent; ``degradation``, ``ci_low`` and ``ci_high`` are in percentage points. Differences and ratios
    are against fp32 on the same backend. ``ci_over`` says what the bootstrap of the interval draws, ``speakers`` or
    ``utterances``. ``audio_seconds`` were recognised in ``wall_seconds`` to get the words. ``float_layers`` is the
    number of layers that are not quantized. ``machine`` is the CPU that recognised, or a GPU. What was not measured
    stays empty. ``seed`` is for the bootstrap of the intervals. One warning is logged if all utterances are of one
    speaker.

    The columns `SPEEDS` are from ``timings``, rows of the tables of `stablequant.engines.time_engines.time_engines`. A
    speedup whose interval contains 1 is told as `NOT_MEASURABLE`.
    """
    if any(len(set(e.get("speakers") or [])) == 1 for e in evaluations):
        logging.warning(
            "all utterances are of one speaker: the intervals draw utterances, and hold for this speaker only"
        )
    speeds = {(row["backend"], row["method"]): _speeds(row) for row in timings}
    rows = [
        _row(e, _fp32_of(e["backend"], evaluations), seed) | speeds.get((e["backend"], e["method"]), {})
        for e in evaluations
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype(dict.fromkeys(["words", "size_bytes", "onnx_bytes", "float_layers"], "Int64"))


def read_comparison(path: Path) -> pd.DataFrame:
    """The table in ``path``. Speedups are numbers, `NOT_MEASURABLE`, or missing."""
    table = read_table(path)
    for column in {"speedup", "new_speedup"} & set(table):  # older tables have fewer columns
        if NOT_MEASURABLE in set(table[column]):
            table[column] = [cell if cell == NOT_MEASURABLE else float(cell) for cell in table[column]]
    return table


def _fp32_of(backend: str, evaluations: Sequence[EvaluationRecord]) -> EvaluationRecord | None:
    return next((e for e in evaluations if e["backend"] == backend and e["method"] == "fp32"), None)


def _row(evaluation: EvaluationRecord, fp32: EvaluationRecord | None, seed: int) -> dict[str, object]:
    row: dict[str, object] = {
        "backend": evaluation["backend"],
        "method": evaluation["method"],
        "size_bytes": evaluation["size_bytes"],
        "onnx_bytes": evaluation["onnx_bytes"],
        "float_layers": evaluation["float_layers"],
        "arithmetic": evaluation["arithmetic"],
        "status": evaluation["status"],
    }
    if fp32:
        row["size_ratio"] = evaluation["size_bytes"] / fp32["size_bytes"]
        row["onnx_ratio"] = evaluation["onnx_bytes"] / fp32["onnx_bytes"]
    if evaluation["status"] != EVALUATED:
        return row
    measured = _word_errors(evaluation)
    row |= {
        "wer": measured.wer,
        "words": int(measured.words.sum()),
        "audio_seconds": evaluation["audio_seconds"],
        "wall_seconds": evaluation["wall_seconds"],
        "machine": evaluation.get("machine"),
    }
    if fp32 and fp32["status"] == EVALUATED:
        reference = _word_errors(fp32)
        row["degradation"] = degradation(measured, reference)
        row["ci_low"], row["ci_high"] = degradation_interval(measured, reference, seed)
        row["ci_over"] = reference.drawn
    return row


def _speeds(timing: Mapping[Hashable, Any]) -> dict[str, object]:
    found = {column: timing[column] for column in SPEEDS}
    for column in ("speedup", "new_speedup"):
        surely_other = found[f"{column}_low"] > 1 or found[f"{column}_high"] < 1
        if pd.notna(found[column]) and timing["method"] != REFERENCE and not surely_other:
            found[column] = NOT_MEASURABLE
    return found


def _word_errors(evaluation: EvaluationRecord) -> WordErrors:
    speakers = evaluation.get("speakers")
    return WordErrors(
        np.array(evaluation["errors"]),
        np.array(evaluation["words"]),
        None if speakers is None else np.array(speakers, dtype=str),
    )
