"""Memory that recognising takes."""

from dataclasses import dataclass

FLOAT_BYTES = 4
MEGABYTE = 10**6


@dataclass(frozen=True)
class Footprint:
    """Memory that one utterance's hidden values take while it is recognised.

    Attributes
    ----------
    per_sample: bytes per sample of audio, of the layer that takes most
    per_pair: bytes per pair of frames, where a layer's attention scores are held; 0 where they never are
    hop: samples from one frame to the next
    """

    per_sample: float
    per_pair: float
    hop: int

    def bytes(self, samples: int) -> float:
        """Of one utterance of so many ``samples``."""
        return self.per_sample * samples + self.per_pair * (samples / self.hop) ** 2
