"""What probes and searches have in common: the recogniser, the calibration set and what fp32 made of it."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stablequant.quantization.channel_scales import load_scales
from stablequant.quantization.int8_weights import load_rounded
from stablequant.recognisers.layer_table import read_modules
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.layers import QuantizedModule
from stablequant.recognisers.wav2vec2.loading import load_recogniser
from stablequant.search.activations import Activations
from stablequant.search.racing import Racing
from stablequant.search.recognise_reference import load_reference, read_split
from stablequant.search.trials import Calibration


@dataclass(frozen=True)
class Search:
    """All that a probe or a search works on; ``modules`` are those of the layers that it quantizes."""

    stages: Stages
    modules: list[QuantizedModule]
    calibration: Calibration
    racing: Racing | None


def read_search(
    files: Any,
    device: str,
    threads: int,
    batch_mb: float,
    seed: int,
    racing: dict[str, Any] | None = None,
    layers: Collection[str] | None = None,
) -> Search:
    """Read the rule's input ``files``: ``checkpoint layers utterances equalisation weights summary posteriors``,
    and ``activations`` where the job resumes from them. Without ``layers`` all are quantized."""
    checkpoint = Path(files.checkpoint)
    split = read_split(checkpoint, Path(files.utterances), batch_mb, seed, racing is not None)
    reference = load_reference(Path(files.summary), Path(files.posteriors))
    model = load_recogniser(checkpoint, device, threads=threads)
    stages = Stages(model, getattr(torch, reference.precision))
    modules = [m for m in read_modules(Path(files.layers)) if layers is None or m.layer in layers]
    index = files.get("activations")
    activations = Activations(Path(index), split.belongs, stages.names) if index else None
    return Search(
        stages,
        modules,
        Calibration(
            split,
            reference,
            activations,
            seed,
            channel_scales=load_scales(Path(files.equalisation)),
            rounded=load_rounded(Path(files.weights), {m.module for m in modules}),
        ),
        Racing(racing["confidence"], seed) if racing else None,
    )
