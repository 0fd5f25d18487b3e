"""Verify that reduced precision changes no hypothesis."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stablequant.corpora.utterance import Batch
from stablequant.progress import progress
from stablequant.recognisers.recogniser import Guide, Recognised, Recogniser
from stablequant.search.hidden_values import HiddenValues, drop_layer
from stablequant.search.split import context_of, loaded


def verify_half(
    recogniser: Recogniser,
    batches: Sequence[Batch],
    expected: Mapping[str, str],
    guides: Mapping[str, Guide],
    index: Path,
    key: Mapping[str, str],
) -> None:
    """Recognise ``batches`` from the cached values of every layer; remove layers for which a hypothesis changes.

    ``expected`` are the hypotheses of fp32 and ``guides`` its tokens, by key of the utterance. ``index`` is the cache,
    and ``key`` what it belongs to.
    """
    hidden_values = HiddenValues(index, key, recogniser.layers)
    kept, dropped = hidden_values.layers, []
    for number, batch in enumerate(progress(batches, label="half precision")):
        context = context_of(recogniser, batch)
        along = [guides.get(u.key) for u in batch]
        for layer in list(kept):
            state = recogniser.enter(hidden_values.load(layer, number))
            if not _same(batch, recogniser.recognise(state, layer, context, along), expected):
                kept.remove(layer)
                dropped.append(recogniser.layers[layer])
                drop_layer(index, recogniser.layers[layer])
    if dropped:
        names = ", ".join(dropped)
        logging.warning("half precision changes a hypothesis: the inputs of these layers are not cached: %s", names)


def verify_precision(
    recogniser: Recogniser,
    batches: Sequence[Batch],
    expected: Mapping[str, str],
    guides: Mapping[str, Guide],
    precision: str,
) -> str:
    """``precision`` if it changes no hypothesis, otherwise ``float32``.

    ``expected`` are the hypotheses of fp32 and ``guides`` its tokens, by key of the utterance.
    """
    reduced = recogniser.reduced(precision)
    for batch, context, state in loaded(reduced, batches, precision):
        along = [guides.get(u.key) for u in batch]
        if not _same(batch, reduced.recognise(state, 0, context, along), expected):
            logging.warning("%s changes a hypothesis: the search computes in float32", precision)
            return "float32"
    return precision


def _same(batch: Batch, found: Sequence[Recognised], expected: Mapping[str, str]) -> bool:
    """Whether the hypotheses of a batch are as ``expected``, and its posteriors contain no NaN or infinity."""
    return all(
        bool(np.isfinite(recognised.log_posteriors).all()) and recognised.text == expected[utterance.key]
        for utterance, recognised in zip(batch, found, strict=True)
    )
