"""What an exhaustive search without racing recorded: word errors by utterance, of every layer and every cut-off."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import project  # noqa: F401 - it makes the package importable
import numpy as np

from stablequant.corpora.utterance import read_utterances, speakers_of
from stablequant.recognisers.layer_table import read_modules
from stablequant.scoring.word_errors import WordErrors
from stablequant.search.search_percentile import Candidate, WordTies, mark_best, outcome_of
from stablequant.storage.files import read_json


@dataclass(frozen=True)
class Record:
    """What lies in ``results``, the folder of a model. Reading it ends the program if the search left anything out."""

    results: Path

    @cached_property
    def samples(self) -> np.ndarray:
        """Of each utterance, int64 ``(utterances,)``."""
        return np.array([u.samples for u in read_utterances(self.results / "utterances/calibration.tsv")])

    @cached_property
    def reference(self) -> WordErrors:
        """Of fp32."""
        rows = read_json(self.results / "reference.json")["utterances"]
        errors, words = (np.array([row[key] for row in rows]) for key in ("errors", "words"))
        return WordErrors(errors, words, speakers_of(row.get("speaker") for row in rows))

    @cached_property
    def probes(self) -> dict[str, dict]:
        """Rows of the probes, by layer, in the order in which audio passes the layers."""
        rows = [row for file in (self.results / "sensitivity").glob("*.json") for row in read_json(file)]
        self._check(rows)
        found = {row["layer"]: row for row in rows}
        layers = dict.fromkeys(module.layer for module in read_modules(self.results / "layers.tsv"))
        if missing := layers.keys() - found:
            sys.exit(f"{self.results}: no probe of {min(missing)}; run it anew with search: exhaustive")
        return {layer: found[layer] for layer in layers}

    @cached_property
    def searches(self) -> dict[str, dict[float, Candidate]]:
        """Cut-offs from the highest to the lowest, by searched layer; the highest is the probe's."""
        found = {}
        for file in sorted((self.results / "percentiles").glob("*.json")):
            rows = sorted(read_json(file)["candidates"], key=lambda row: -row["percentile"])
            self._check(rows)
            found[file.stem] = {row["percentile"]: Candidate(row["percentile"], outcome_of(row)) for row in rows}
        return found

    def _check(self, rows: Iterable[dict]) -> None:
        """End the program if racing left out utterances in ``rows``."""
        if any(None in row["errors"] for row in rows):
            sys.exit(f"{self.results}: searched with racing; run it anew with racing: {{enabled: false}}")


def best_of(candidates: Sequence[Candidate], ties: WordTies | None = None) -> Candidate:
    """The cut-off that a search takes."""
    return next(candidate for candidate in mark_best(candidates, ties) if candidate.best)
