"""Racing: stop early when the rest of the audio can hardly change the decision.

Utterances come in a random order, so the remaining ones are expected to be like those seen. Utterances are sorted by
length only between two decisions. The differences in word errors of the remaining utterances are drawn from the
Bayesian bootstrap of a finite population (Lo, Annals of Statistics 1988): a difference is as likely as it was frequent
so far. A series of equal results must not count as certain. So the differences of one word more and one word less count
as if each had been seen in half an utterance.
"""

from dataclasses import dataclass

import numpy as np

DRAWS = 4000
UNSEEN_CHANGES = {-1: 0.5, 1: 0.5}  # difference in words -> utterances in which it counts as seen from the start


@dataclass(frozen=True)
class Racing:
    """Decisions with a ``confidence`` (0 to 1) each. ``seed`` is for the draws."""

    confidence: float
    seed: int

    def above(self, difference: np.ndarray, unseen: int, limit: float) -> bool | None:
        """Whether the total difference over all utterances exceeds ``limit`` words; None if it is not sure yet.

        ``difference``, int64 ``(seen utterances,)``, is in words. ``unseen`` is the number of remaining utterances.
        """
        probability = float((self._totals(difference, unseen) > limit).mean())
        if probability >= self.confidence:
            return True
        return False if probability <= 1 - self.confidence else None

    def losers(self, errors: np.ndarray, divergences: np.ndarray, unseen: int, tie: float = 0.0) -> np.ndarray:
        """Which candidates can hardly win, bool ``(candidates,)``.

        The candidate with the fewest word errors wins; among those with up to ``tie`` words more, the one with the
        lowest divergence. ``errors`` ``(candidates, seen utterances)`` are in words, and ``divergences``
        ``(candidates,)`` are totals. ``unseen`` is the number of remaining utterances.
        """
        lost = np.zeros(len(errors), dtype=bool)
        leader = np.lexsort((divergences, errors.sum(axis=1)))[0]
        for candidate in np.delete(np.arange(len(errors)), leader):
            totals = self._totals(errors[candidate] - errors[leader], unseen)
            wins = totals <= tie if divergences[candidate] < divergences[leader] else totals < 0
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
        totals: np.ndarray = int(difference.sum()) + draw.multinomial(unseen, shares) @ np.array(list(masses))
        return totals
