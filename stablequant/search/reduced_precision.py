"""Reduced precision only where it is proven to change no hypothesis."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from stablequant.progress import progress
from stablequant.recognisers.batches import Batch, loaded
from stablequant.recognisers.ctc.decoding import Recognition
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.search.activations import Activations, forget


def prove_half(
    stages: Stages, batches: Sequence[Batch], expected: Recognition, index: Path, belongs: dict[str, str]
) -> None:
    """Recognise from every layer's stored values; those from which a hypothesis comes out otherwise are dropped."""
    activations = Activations(index, belongs, stages.names)
    kept = activations.layers
    for number, batch in enumerate(progress(batches, label="half precision")):
        frames = stages.frames([u.samples for u in batch])
        for layer in list(kept):
            logits = stages.logits(stages.enter(activations.load(layer, number)), layer, frames)
            if not _same(batch, frames.rows(logits), expected):
                logging.warning("half precision of what enters %s changes a hypothesis: not kept", stages.names[layer])
                kept.remove(layer)
                forget(index, stages.names[layer])


def prove_precision(
    stages: Stages, batches: Sequence[Batch], front_end: FrontEnd, expected: Recognition, precision: str
) -> str:
    """``precision`` if no hypothesis comes out otherwise in it, else ``float32``."""
    reduced = Stages(stages.model, getattr(torch, precision))
    for batch, audio in loaded(batches, front_end, precision):
        frames = reduced.frames([u.samples for u in batch])
        if not _same(batch, frames.rows(reduced.logits(reduced.enter(audio), 0, frames)), expected):
            logging.warning("%s changes a hypothesis: the search computes in float32", precision)
            return "float32"
    return precision


def _same(batch: Batch, rows: list[np.ndarray], expected: Recognition) -> bool:
    """Whether logits by utterance are decoded as ``expected``, which what overflowed never is."""
    if not all(np.isfinite(logits).all() for logits in rows):
        return False
    found = Recognition(expected.vocabulary)
    found.add(batch, rows)
    return all(expected.hypotheses[path] == hypothesis for path, hypothesis in found.hypotheses.items())
