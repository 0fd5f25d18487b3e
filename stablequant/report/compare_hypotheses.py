"""Hypotheses that quantization changed."""

from collections.abc import Iterator, Mapping

import jiwer
import pandas as pd

from stablequant.scoring.word_errors import word_errors

COLUMNS = ["backend", "method", "utterance", "transcript", "fp32_errors", "errors", "fp32", "changes"]
TEXT = ["utterance", "transcript", "fp32", "changes"]  # columns of text, even if it looks like numbers


def changed_hypotheses(tables: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """One row per changed hypothesis with the columns `COLUMNS`.

    A hypothesis is changed if an engine's text differs from that of fp32 on the same backend. ``tables`` are tables of
    `hypothesis_table` by backend and method. ``fp32`` is the hypothesis of fp32, and ``changes`` is the engine's with
    the differences marked, see `marked`. ``fp32_errors`` and ``errors`` are their numbers of word errors.
    """
    rows = []
    for (backend, method), table in tables.items():
        fp32 = tables.get((backend, "fp32"))
        if fp32 is None or method == "fp32":
            continue
        both = fp32.merge(table, on=["utterance", "transcript"], suffixes=("_fp32", ""))
        changed = both[both["hypothesis"] != both["hypothesis_fp32"]]
        columns = (changed[name].tolist() for name in ("utterance", "transcript", "hypothesis_fp32", "hypothesis"))
        for utterance, transcript, before, after in zip(*columns, strict=True):
            errors = word_errors([transcript] * 2, [before, after]).errors.tolist()
            rows.append([backend, method, utterance, transcript, *errors, before, marked(before, after)])
    return pd.DataFrame(rows, columns=COLUMNS)


def marked(before: str, after: str) -> str:
    """``after`` with the differences from ``before`` in brackets: ``[old -> new]``, ``[+ new]``, ``[- old]``."""
    if not before.split():
        return f"[+ {after}]" if after else ""
    return " ".join(_spans(before, after))


def _spans(before: str, after: str) -> Iterator[str]:
    (chunks,) = jiwer.process_words(before, after).alignments
    for chunk in chunks:
        old = _words(before, chunk.ref_start_idx, chunk.ref_end_idx)
        new = _words(after, chunk.hyp_start_idx, chunk.hyp_end_idx)
        if chunk.type == "equal":
            yield new
        elif chunk.type == "insert":
            yield f"[+ {new}]"
        elif chunk.type == "delete":
            yield f"[- {old}]"
        else:
            yield f"[{old} -> {new}]"


def _words(text: str, start: int, stop: int) -> str:
    return " ".join(text.split()[start:stop])


def count_changes(table: pd.DataFrame) -> Iterator[tuple[str, str, int, int, int]]:
    """For each backend and method: number of changed utterances, of better ones and of worse ones."""
    for (backend, method), rows in table.groupby(["backend", "method"], sort=False):
        better, worse = (rows["errors"] < rows["fp32_errors"]).sum(), (rows["errors"] > rows["fp32_errors"]).sum()
        yield str(backend), str(method), len(rows), int(better), int(worse)
