"""Reduced precision only where it is verified to change no hypothesis."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stablequant.corpora.utterance import Batch
from stablequant.progress import progress
from stablequant.recognisers.family import Guide, Recognised, Recogniser
from stablequant.search.activations import Activations, forget
from stablequant.search.split import context_of, loaded


def verify_half(
    recogniser: Recogniser,
    batches: Sequence[Batch],
    expected: Mapping[str, str],
    guides: Mapping[str, Guide],
    index: Path,
    key: Mapping[str, str],
) -> None:
    """Recognise from every layer's stored values; drop those from which a hypothesis comes out otherwise.

    ``expected`` are fp32's hypotheses and ``guides`` its tokens, by the utterance's path; ``key`` is the cache's.
    """
    activations = Activations(index, key, recogniser.layers)
    kept = activations.layers
    for number, batch in enumerate(progress(batches, label="half precision")):
        context = context_of(recogniser, batch)
        along = [guides.get(u.path) for u in batch]
        for layer in list(kept):
            state = recogniser.enter(activations.load(layer, number))
            if not _same(batch, recogniser.recognise(state, layer, context, along), expected):
                name = recogniser.layers[layer]
                logging.warning("half precision of what enters %s changes a hypothesis: not kept", name)
                kept.remove(layer)
                forget(index, name)


def verify_precision(
    recogniser: Recogniser,
    batches: Sequence[Batch],
    expected: Mapping[str, str],
    guides: Mapping[str, Guide],
    precision: str,
) -> str:
    """``precision`` if no hypothesis comes out otherwise in it, else ``float32``."""
    reduced = recogniser.reduced(precision)
    for batch, context, state in loaded(reduced, batches, precision):
        along = [guides.get(u.path) for u in batch]
        if not _same(batch, reduced.recognise(state, 0, context, along), expected):
            logging.warning("%s changes a hypothesis: the search computes in float32", precision)
            return "float32"
    return precision


def _same(batch: Batch, found: Sequence[Recognised], expected: Mapping[str, str]) -> bool:
    """Whether a batch is recognised as ``expected``; posteriors that overflowed never are."""
    return all(
        bool(np.isfinite(recognised.log_posteriors).all()) and recognised.text == expected[utterance.path]
        for utterance, recognised in zip(batch, found, strict=True)
    )
