"""Memory that a recogniser needs for its hidden values."""

from dataclasses import dataclass

FLOAT_BYTES = 4
MEGABYTE = 10**6


@dataclass(frozen=True)
class Footprint:
    """Memory for the hidden values of one utterance.

    Attributes
    ----------
    per_sample: bytes per sample of audio, in the layer that needs most
    per_pair: bytes per pair of frames, for stored attention scores; 0 if they are never stored
    hop: samples from one frame to the next
    """

    per_sample: float
    per_pair: float
    hop: int

    def bytes(self, samples: int) -> float:
        """Bytes for one utterance with a length of ``samples``."""
        return self.per_sample * samples + self.per_pair * (samples / self.hop) ** 2
