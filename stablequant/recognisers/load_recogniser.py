"""The recogniser of an imported checkpoint, in torch, as the search runs it."""

from importlib import import_module
from pathlib import Path

from stablequant.recognisers.family import Loading, Recogniser
from stablequant.recognisers.registry import family_of

PLUGIN = "stablequant.recognisers.{family}.loading"


def load_recogniser(checkpoint: Path, device: str = "cpu", threads: int = 1) -> Recogniser:
    """Load it in float32 and evaluation mode; the whole process computes float32 exactly from then on."""
    part: Loading = import_module(PLUGIN.format(family=family_of(checkpoint).name))
    return part.load(checkpoint, device, threads)
