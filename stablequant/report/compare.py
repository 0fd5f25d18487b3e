"""All evaluations of a model in one table."""

import numpy as np
import pandas as pd

from stablequant.engines.folder import EVALUATED
from stablequant.scoring.intervals import degradation_interval
from stablequant.scoring.word_errors import WordErrors, degradation

COLUMNS = [
    *("backend", "method", "wer", "degradation", "ci_low", "ci_high", "words"),
    *("size_bytes", "size_ratio", "onnx_bytes", "onnx_ratio"),
    *("audio_seconds", "wall_seconds", "rtfx", "speedup"),
    *("float_layers", "arithmetic", "status"),
]


def compare(evaluations: list[dict], seed: int) -> pd.DataFrame:
    """One row per backend and method, `COLUMNS`; differences and ratios are against fp32 of the same backend.

    ``float_layers`` counts the layers that a method leaves in floating point. What was not measured stays empty.
    """
    table = pd.DataFrame([_row(e, _fp32_of(e["backend"], evaluations), seed) for e in evaluations], columns=COLUMNS)
    return table.astype(dict.fromkeys(["words", "size_bytes", "onnx_bytes", "float_layers"], "Int64"))


def _fp32_of(backend: str, evaluations: list[dict]) -> dict | None:
    return next((e for e in evaluations if e["backend"] == backend and e["method"] == "fp32"), None)


def _row(evaluation: dict, fp32: dict | None, seed: int) -> dict:
    copied = ("backend", "method", "size_bytes", "onnx_bytes", "float_layers", "arithmetic", "status")
    row = {key: evaluation[key] for key in copied}
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
        "rtfx": evaluation["audio_seconds"] / evaluation["wall_seconds"],
    }
    if fp32 and fp32["status"] == EVALUATED:
        reference = _word_errors(fp32)
        row["degradation"] = degradation(measured, reference)
        row["ci_low"], row["ci_high"] = degradation_interval(measured, reference, seed)
        row["speedup"] = fp32["wall_seconds"] / evaluation["wall_seconds"]
    return row


def _word_errors(evaluation: dict) -> WordErrors:
    return WordErrors(np.array(evaluation["errors"]), np.array(evaluation["words"]))
