"""Load an imported checkpoint as a torch recogniser for the search."""

from importlib import import_module
from pathlib import Path

from stablequant.recognisers.family import Loading
from stablequant.recognisers.products import speed_up
from stablequant.recognisers.recogniser import Recogniser
from stablequant.recognisers.registry import family_of

PLUGIN = "stablequant.recognisers.{family}.loading"


def load_recogniser(checkpoint: Path, device: str = "cpu", threads: int = 1) -> Recogniser:
    """Load the checkpoint in float32 and evaluation mode.

    ``device`` is auto, cpu or cuda. For the whole process, this sets the number of CPU ``threads`` and switches
    TensorFloat-32 off. On a CPU, products are computed in the fastest way, see `stablequant.recognisers.products`.
    """
    part: Loading = import_module(PLUGIN.format(family=family_of(checkpoint).name))
    recogniser = part.load(checkpoint, device, threads)
    speed_up(recogniser.model)
    return recogniser
