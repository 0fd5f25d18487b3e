"""Judging engines: the evaluation set recognised by each, and all of them in one table."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stablequant.corpora.list_utterances import Utterance
from stablequant.recognisers.batches import Batch, loaded
from stablequant.recognisers.ctc.decoding import Infer, recognise
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.scoring.word_errors import WordErrors, degradation, degradation_interval

EVALUATED = "evaluated"
COLUMNS = [
    *("backend", "method", "wer", "degradation", "ci_low", "ci_high", "words"),
    *("size_bytes", "size_ratio", "onnx_bytes", "onnx_ratio"),
    *("audio_seconds", "wall_seconds", "rtfx", "speedup"),
    *("float_layers", "arithmetic", "status"),
]


@dataclass(frozen=True)
class Evaluation:
    """One engine's recognition of a split.

    Attributes
    ----------
    scored: word errors by utterance
    hypotheses: by the utterance's path
    audio_seconds, wall_seconds: audio recognised, and the time inside the engine alone (best of the repeats)
    """

    scored: WordErrors
    hypotheses: dict[str, str]
    audio_seconds: float
    wall_seconds: float


def evaluate(
    infer: Infer, utterances: list[Utterance], batches: list[Batch], front_end: FrontEnd, repeats: int
) -> Evaluation:
    """Recognise ``batches`` of ``utterances`` ``repeats`` times; every repeat must give the same hypotheses."""
    seconds = 0.0

    def timed(audio: np.ndarray) -> np.ndarray:
        nonlocal seconds
        start = time.perf_counter()
        logits = infer(audio)
        seconds += time.perf_counter() - start
        return logits

    runs = []
    for repeat in range(repeats):
        seconds = 0.0
        label = "recognising" if repeats == 1 else f"recognising {repeat + 1}/{repeats}"
        recognition = recognise(timed, loaded(batches, front_end, label), front_end.vocabulary)
        runs.append((seconds, recognition))
    if any(run.hypotheses != runs[0][1].hypotheses for _, run in runs):
        raise RuntimeError("the engine recognised the same audio differently in two runs")
    return Evaluation(
        runs[0][1].score(utterances),
        runs[0][1].hypotheses,
        sum(u.samples for u in utterances) / front_end.sample_rate,
        min(wall for wall, _ in runs),
    )


def hypothesis_table(utterances: list[Utterance], hypotheses: dict[str, str]) -> pd.DataFrame:
    """``utterance transcript hypothesis``; without rows where nothing was recognised."""
    rows = [(u.utterance, u.transcript, hypotheses[u.path]) for u in utterances if u.path in hypotheses]
    return pd.DataFrame(rows, columns=["utterance", "transcript", "hypothesis"])


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
