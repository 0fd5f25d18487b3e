"""Stopping early when the rest of the audio can hardly change the answer.

Utterances come in a random order, so those still to come are expected to be like those seen; batches of alike lengths
are formed between two decisions only. Their differences in word errors are drawn from the Bayesian bootstrap of a
finite population (Lo, Annals of Statistics 1988): each difference so far is as likely again as it was frequent. So that
a run of equal results does not pass for certainty, one word more and one word less count as if each had been seen in
half an utterance.
"""

from dataclasses import dataclass

import numpy as np

DRAWS = 4000
UNSEEN_CHANGES = {-1: 0.5, 1: 0.5}  # utterances that each difference, in words, counts as having been seen in


@dataclass(frozen=True)
class Racing:
    """``confidence`` (0 to 1) in each decision; ``seed`` of the draws."""

    confidence: float
    seed: int

    def above(self, difference: np.ndarray, unseen: int, limit: float) -> bool | None:
        """Whether the sum of ``difference`` (words, seen utterances) and of ``unseen`` more exceeds ``limit``.

        None while it is not sure.
        """
        probability = float((self._totals(difference, unseen) > limit).mean())
        if probability >= self.confidence:
            return True
        return False if probability <= 1 - self.confidence else None

    def losers(self, errors: np.ndarray, divergences: np.ndarray, unseen: int) -> np.ndarray:
        """Which candidates can hardly win: bool ``(candidates,)``.

        ``errors`` are words ``(candidates, seen utterances)``. The lowest total wins, of equals the lowest divergence.
        """
        lost = np.zeros(len(errors), dtype=bool)
        leader = np.lexsort((divergences, errors.sum(axis=1)))[0]
        for candidate in np.delete(np.arange(len(errors)), leader):
            totals = self._totals(errors[candidate] - errors[leader], unseen)
            wins = totals <= 0 if divergences[candidate] < divergences[leader] else totals < 0
            lost[candidate] = wins.mean() < 1 - self.confidence
        return lost

    def _totals(self, difference: np.ndarray, unseen: int) -> np.ndarray:
        """Draws of the total difference over seen and unseen utterances, int64 ``(DRAWS,)``."""
        values, counts = np.unique(difference, return_counts=True)
        masses = dict(zip(values.tolist(), counts.tolist(), strict=True))
        for value, mass in UNSEEN_CHANGES.items():
            masses[value] = masses.get(value, 0) + mass
        draw = np.random.default_rng(self.seed)
        shares = draw.dirichlet(list(masses.values()), size=DRAWS)
        return int(difference.sum()) + draw.multinomial(unseen, shares) @ np.array(list(masses))
