"""Whether a split has enough words for the threshold. The Snakefile imports this module while it is parsed."""

import csv
import math
from pathlib import Path


def words_in(table: Path) -> int:
    """Words of the transcripts in ``utterances/{split}.tsv``."""
    with table.open(encoding="utf-8", newline="") as rows:
        return sum(len(row["transcript"].split()) for row in csv.DictReader(rows, delimiter="\t"))


def few_words(words: int, threshold: float, split: str) -> str | None:
    """A warning if one word of ``split``, which has ``words``, is more than ``threshold`` points of WER; else None."""
    if threshold <= 0 or threshold * words >= 100:
        return None
    return (
        f"warning: the {split} has {words} words, so that one word is {100 / max(words, 1):.2g} points of WER, more "
        f"than the threshold of {threshold:g}: one changed word decides; {math.ceil(100 / threshold)} words would do, "
        "and several times as many are better"
    )
