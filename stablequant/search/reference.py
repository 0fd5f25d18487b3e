"""The reference of the search: what fp32 recognises in the calibration set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from stablequant.corpora.utterance import Batch, speakers_of
from stablequant.recognisers.family import Guide
from stablequant.scoring.word_errors import WordErrors
from stablequant.storage.arrays import ArrayReader
from stablequant.storage.files import read_json


@dataclass(frozen=True)
class Reference:
    """What fp32 recognised.

    Attributes
    ----------
    errors: word errors in the order of the utterance table
    log_posteriors: float32 ``(positions, classes)`` by key of the utterance
    guides: tokens for which posteriors are computed, by key of the utterance; empty for CTC
    precision: floating-point type in which the search may compute, as `recognise_reference` found
    """

    errors: WordErrors
    log_posteriors: ArrayReader
    guides: Mapping[str, Guide]
    precision: str

    def guides_of(self, batch: Batch) -> Sequence[Guide]:
        """The guide of each utterance in ``batch``."""
        return [self.guides.get(u.key) for u in batch]


class Row(TypedDict):
    """One utterance in ``reference.json``; ``path`` is its key, which is the path of a whole file."""

    path: str
    words: int
    errors: int
    hypothesis: str
    speaker: NotRequired[str]
    guide: NotRequired[list[int]]


def load_reference(summary: Path, posteriors: Path) -> Reference:
    """Read what `recognise_reference` wrote; raise `StableQuantError` if a file is damaged."""
    content = read_json(summary)
    rows: list[Row] = content["utterances"]
    errors = WordErrors(
        np.array([row["errors"] for row in rows]),
        np.array([row["words"] for row in rows]),
        speakers_of(row.get("speaker") for row in rows),
    )
    guides = {row["path"]: row["guide"] for row in rows if "guide" in row}
    return Reference(errors, ArrayReader(posteriors), guides, content["precision"])
