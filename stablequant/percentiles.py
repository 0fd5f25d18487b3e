"""The cut-off percentile of a layer whose outliers hurt."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from stablequant.histograms import Histogram
from stablequant.ranges import percentile_amax
from stablequant.sensitivity import Probe


@dataclass(frozen=True)
class Candidate:
    """One cut-off tried: ``percentile`` in percent, what was measured with it, and whether it won."""

    percentile: float
    probe: Probe
    best: bool = False

    def row(self) -> dict:
        return {"percentile": self.percentile, "best": self.best, **asdict(self.probe)}


def search(
    histograms: dict[str, Histogram],
    percentiles: list[float],
    measure: Callable[[list[dict[str, float]]], list[Probe]],
) -> list[Candidate]:
    """Measure one layer at each cut-off and mark the best.

    ``histograms`` are the layer's own; ``measure`` recognises the calibration set with the layer quantized to each of
    the given ranges. Best is the lowest WER; ties go to the lower divergence from fp32, then to the higher percentile.
    """
    ranges = [{name: percentile_amax(h, percentile) for name, h in histograms.items()} for percentile in percentiles]
    candidates = [Candidate(p, probe) for p, probe in zip(percentiles, measure(ranges), strict=True)]
    best = min(candidates, key=lambda c: (c.probe.wer, c.probe.divergence, -c.percentile))
    return [Candidate(c.percentile, c.probe, best=c is best) for c in candidates]
