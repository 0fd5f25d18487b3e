"""What fp32 recognises in the calibration set, against which every layer is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stablequant.corpora.utterance import Batch
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
    log_posteriors: ``(positions, classes)`` by the utterance's path
    guides: tokens that posteriors are taken along, by the utterance's path, where the recogniser follows any
    precision: floating-point type that the search may use, as `recognise_reference` found
    """

    errors: WordErrors
    log_posteriors: ArrayReader
    guides: Mapping[str, Guide]
    precision: str

    def guides_of(self, batch: Batch) -> Sequence[Guide]:
        """Of each utterance of a batch."""
        return [self.guides.get(u.path) for u in batch]


def load_reference(summary: Path, posteriors: Path) -> Reference:
    """Read what `recognise_reference` wrote; raise `StableQuantError` where a file is damaged."""
    content = read_json(summary)
    rows = content["utterances"]
    errors = WordErrors(np.array([row["errors"] for row in rows]), np.array([row["words"] for row in rows]))
    guides = {row["path"]: row["guide"] for row in rows if "guide" in row}
    return Reference(errors, ArrayReader(posteriors), guides, content["precision"])
