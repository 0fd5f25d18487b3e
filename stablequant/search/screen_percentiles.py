"""Search a layer's cut-off by divergence on a little audio; recognise only what that leaves in doubt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stablequant.quantization.histograms import Histogram
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.screened import RECOGNISED, SCREENED
from stablequant.search.search_percentile import Candidate, WordTies, clipped, mark_best
from stablequant.search.trials import Calibration, Experiment, Trial, run_trials


@dataclass(frozen=True)
class ScreenedCutoff:
    """What was measured with a cut-off on the audio of the screen.

    Attributes
    ----------
    percentile: the cut-off in percent
    divergence: divergence of the posteriors from fp32's, in nats per position
    utterances: number of utterances
    """

    percentile: float
    divergence: float
    utterances: int


def screen_percentiles(
    recogniser: Recogniser,
    modules: list[QuantizedModule],
    histograms: Mapping[str, Histogram],
    percentiles: Sequence[float],
    calibration: Calibration,
    audio_seconds: float,
) -> list[ScreenedCutoff]:
    """Measure the divergence with the layer of ``modules`` clipped at each of ``percentiles`` (in percent).

    ``audio_seconds`` of the calibration set are recognised. ``histograms`` are by activation name. The cut-offs come
    from the highest to the lowest.
    """
    part = calibration.part(audio_seconds)
    grid = sorted(set(percentiles), reverse=True)
    trials = [Trial(clipped(modules, histograms, percentile), part) for percentile in grid]
    run_trials(recogniser, [Experiment(modules, trials)], part)
    return [
        ScreenedCutoff(percentile, trial.divergence, int(trial.seen.sum()))
        for percentile, trial in zip(grid, trials, strict=True)
    ]


def search_screened(
    screen: Sequence[ScreenedCutoff],
    recognise: Callable[[Sequence[float]], Sequence[Candidate]],
    threshold: float,
    known: Sequence[Candidate] = (),
    ties: WordTies | None = None,
) -> list[Candidate]:
    """Recognise the calibration set with the cut-offs for which ``screen`` leaves doubt.

    They are returned, with the best one marked. The first is the one that diverges least. If the layer then loses no
    more than ``threshold`` percentage points, the answer is clear. Otherwise the cut-offs next to it are recognised
    too, and those next to the best by words, until the layer loses no more than the threshold or both neighbours of the
    best were recognised. ``recognise`` measures cut-offs (in percent), see `search_percentile`. ``known`` are
    candidates that were measured before; they are returned too.
    """
    grid = [cutoff.percentile for cutoff in screen]
    wanted = [least_divergent(screen)]
    found = {candidate.percentile: candidate for candidate in known}
    while True:
        new = [percentile for percentile in wanted if percentile not in found]
        found |= {candidate.percentile: candidate for candidate in (recognise(new) if new else [])}
        marked = mark_best([found[percentile] for percentile in grid if percentile in found], ties)
        (best,) = [candidate for candidate in marked if candidate.best]
        place = grid.index(best.percentile)
        wanted = grid[max(place - 1, 0) : place + 2]
        if best.outcome.degradation <= threshold or set(wanted) <= found.keys():
            return marked


def least_divergent(screen: Sequence[ScreenedCutoff]) -> float:
    """The cut-off of least divergence in percent; of equals the highest."""
    return min(screen, key=lambda cutoff: (cutoff.divergence, -cutoff.percentile)).percentile


def rows_of(screen: Sequence[ScreenedCutoff], recognised: Sequence[Candidate]) -> list[dict[str, object]]:
    """Rows of ``percentiles/{layer}.json``; a cut-off that was only screened has a divergence and no words."""
    found = {candidate.percentile: candidate.row() | {"measured": RECOGNISED} for candidate in recognised}
    rows = []
    for cutoff in screen:
        only: dict[str, object] = {
            "percentile": cutoff.percentile,
            "best": False,
            "stopped": False,
            "measured": SCREENED,
            "divergence": cutoff.divergence,
            "utterances": cutoff.utterances,
        }
        rows.append(found.get(cutoff.percentile, only) | {"screen_divergence": cutoff.divergence})
    return rows
