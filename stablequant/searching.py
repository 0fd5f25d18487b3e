"""What probes and searches have in common: the recogniser, the calibration set and what fp32 made of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stablequant.activations import Activations
from stablequant.equalisation import load_scales
from stablequant.layer_table import read_modules
from stablequant.layers import QuantizedModule
from stablequant.racing import Racing
from stablequant.recogniser import load_recogniser
from stablequant.reference import load_reference, read_split
from stablequant.rounding import load_rounded
from stablequant.stages import Stages
from stablequant.trials import Calibration


@dataclass(frozen=True)
class Search:
    """All that a probe or a search works on."""

    stages: Stages
    modules: list[QuantizedModule]
    calibration: Calibration
    racing: Racing | None


def read_search(
    files: Any, device: str, threads: int, batch_mb: float, seed: int, racing: dict[str, Any] | None = None
) -> Search:
    """Read the rule's input ``files``: ``checkpoint layers utterances equalisation weights summary posteriors``,
    and ``activations`` where the job resumes from them."""
    checkpoint = Path(files.checkpoint)
    split = read_split(checkpoint, Path(files.utterances), batch_mb, seed)
    reference = load_reference(Path(files.summary), Path(files.posteriors))
    model = load_recogniser(checkpoint, device, threads=threads)
    stages = Stages(model, getattr(torch, reference.precision))
    index = files.get("activations")
    activations = Activations(Path(index), split.belongs, stages.names) if index else None
    return Search(
        stages,
        read_modules(Path(files.layers)),
        Calibration(
            split,
            reference,
            activations,
            seed,
            channel_scales=load_scales(Path(files.equalisation)),
            rounded=load_rounded(Path(files.weights)),
        ),
        Racing(racing["confidence"], seed) if racing and racing["enabled"] else None,
    )
