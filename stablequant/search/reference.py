"""The reference of the search: what fp32 recognises in the calibration set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from stablequant.corpora.utterance import Batch, Utterance, speakers_of
from stablequant.recognisers.recogniser import Guide, Recognised
from stablequant.scoring.divergence import divergence, most_likely, summarised
from stablequant.scoring.word_errors import WordErrors
from stablequant.storage.arrays import ArrayReader, ArrayWriter
from stablequant.storage.files import read_json

MOST_CLASSES = 4096  # of more classes, only the posteriors of the likeliest are stored, and of all others together
KEPT_CLASSES = 256


@dataclass(frozen=True)
class Reference:
    """What fp32 recognised.

    Attributes
    ----------
    errors: word errors in the order of the utterance table
    posteriors: the file that `write_posteriors` wrote
    guides: tokens for which posteriors are computed, by key of the utterance; empty for CTC
    precision: floating-point type in which the search may compute, as `recognise_reference` found
    """

    errors: WordErrors
    posteriors: ArrayReader
    guides: Mapping[str, Guide]
    precision: str

    def guides_of(self, batch: Batch) -> Sequence[Guide]:
        """The guide of each utterance in ``batch``."""
        return [self.guides.get(u.key) for u in batch]

    def divergence(self, utterance: Utterance, recognised: Recognised) -> float:
        """Divergence of the posteriors of ``recognised`` from those of fp32, in nats summed over positions."""
        found, (name, classes) = recognised.log_posteriors, names_of(utterance)
        if found.shape[1] > MOST_CLASSES:
            found = summarised(found, self.posteriors[classes])
        return divergence(self.posteriors[name], found)


def names_of(utterance: Utterance) -> tuple[str, str]:
    """Names of the arrays of an utterance in the file of posteriors: log posteriors, and classes if not all."""
    return utterance.key, f"classes of {utterance.key}"


def write_posteriors(file: ArrayWriter, utterance: Utterance, log_posteriors: np.ndarray) -> None:
    """Store ``log_posteriors`` ``(positions, classes)``; of more than `MOST_CLASSES` only the likeliest."""
    name, classes = names_of(utterance)
    if log_posteriors.shape[1] > MOST_CLASSES:
        chosen = most_likely(log_posteriors, KEPT_CLASSES)
        file.write(classes, chosen)
        log_posteriors = summarised(log_posteriors, chosen)
    file.write(name, log_posteriors)


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
