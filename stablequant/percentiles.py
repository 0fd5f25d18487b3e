"""The cut-off percentile of a layer whose outliers hurt."""

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


def clipped_ranges(histograms: dict[str, Histogram], activations: list[str], percentile: float) -> dict[str, float]:
    """Range of each activation when its histogram is clipped at ``percentile``."""
    return {name: percentile_amax(histograms[name], percentile) for name in activations}


def choose(candidates: list[Candidate]) -> Candidate:
    """Lowest WER; ties go to the lower divergence from fp32, then to the higher percentile."""
    return min(candidates, key=lambda c: (c.probe.wer, c.probe.divergence, -c.percentile))
