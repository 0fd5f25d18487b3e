"""The fp32 recognition of the calibration set, once for all that is measured against it."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stablequant.corpora.utterance import score
from stablequant.errors import StableQuantError
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.histograms import Histogram
from stablequant.recognisers.family import Guide, QuantizedModule, Recogniser
from stablequant.recognisers.sizes import FLOAT_BYTES, MEGABYTE
from stablequant.scoring.word_errors import WordErrors
from stablequant.search.activation_folder import release
from stablequant.search.activations import choose_layers, keeping
from stablequant.search.costs import layer_costs
from stablequant.search.reduced_precision import verify_half, verify_precision
from stablequant.search.split import Split, check_finite, loaded, padded_samples
from stablequant.storage.arrays import writing_arrays
from stablequant.storage.files import write_json


@dataclass(frozen=True)
class Files:
    """Where `recognise_reference` writes to; ``activations`` is the index of the hidden values."""

    summary: Path
    posteriors: Path
    activations: Path


@dataclass(frozen=True)
class Cache:
    """Hidden values that are kept on disk.

    Attributes
    ----------
    key: what they belong to, see `stablequant.search.activations.cache_key`
    disk_mb: most megabytes that they may take
    half: whether they are kept in half precision, each layer's only where that changes no hypothesis
    """

    key: Mapping[str, str]
    disk_mb: float
    half: bool = False

    @property
    def dtype(self) -> np.dtype:
        """Of the values on disk."""
        return np.dtype(np.float16 if self.half else np.float32)


@dataclass(frozen=True)
class Measured:
    """What one fp32 pass found beside its files: word errors, and the histograms of all activations.

    ``histograms`` are of magnitudes as they are; ``prepared`` are of the activations as the search quantizes them.
    """

    errors: WordErrors
    histograms: dict[str, Histogram]
    prepared: dict[str, Histogram]


@dataclass
class _Heard:
    """What is recognised, by the utterance's path, as batches come in."""

    hypotheses: dict[str, str] = field(default_factory=dict)
    guides: dict[str, Guide] = field(default_factory=dict)


def recognise_reference(
    recogniser: Recogniser,
    split: Split,
    files: Files,
    cache: Cache,
    preparation: Preparation | None = None,
    precision: str = "float32",
) -> Measured:
    """Recognise the split once: write ``files``, return the word errors and the histograms of all activations.

    Hidden values are kept of as many layers as ``cache`` has room for. ``precision`` lets the search compute in
    bfloat16 or float16, if no hypothesis changes by it; hidden values are not kept then. ``preparation`` says how
    activations are prepared for quantization.
    """
    if precision != "float32":
        logging.info("hidden values are not cached: %s was verified only from the audio", precision)
        cache = Cache(cache.key, 0, cache.half)
    files.activations.unlink(missing_ok=True)
    release(files.activations)  # left by an earlier run; its space counts as free
    chosen = _layers_to_keep(recogniser, split, files.activations, cache)
    heard, plain, prepared = _one_pass(recogniser, split, files, cache, chosen, preparation)
    if cache.half:
        verify_half(recogniser, split.batches, heard.hypotheses, heard.guides, files.activations, cache.key)
    if precision != "float32":
        precision = verify_precision(recogniser, split.batches, heard.hypotheses, heard.guides, precision)
    errors = score(split.utterances, heard.hypotheses)
    _write_summary(files.summary, split, errors, heard, precision)
    return Measured(errors, plain, prepared)


def _one_pass(
    recogniser: Recogniser,
    split: Split,
    files: Files,
    cache: Cache,
    chosen: Sequence[int],
    preparation: Preparation | None,
) -> tuple[_Heard, dict[str, Histogram], dict[str, Histogram]]:
    """Recognise every batch; write posteriors and hidden values; return texts and both kinds of histograms."""
    heard = _Heard()
    modules: Sequence[QuantizedModule] = recogniser.modules
    with ExitStack() as stack:
        posteriors = stack.enter_context(writing_arrays(files.posteriors, [u.path for u in split.utterances]))
        writer = stack.enter_context(
            keeping(files.activations, cache.key, recogniser.layers, chosen, len(split.batches), cache.dtype)
        )
        plain = stack.enter_context(collecting(recogniser.model, modules))
        prepared = stack.enter_context(collecting(recogniser.model, modules if preparation else [], preparation))
        for number, (batch, context, state) in enumerate(loaded(recogniser, split.batches, "fp32")):
            plain.context = prepared.context = context
            for layer in range(recogniser.resumable + 1):
                if layer in chosen:
                    writer.keep(layer, number, state)
                if layer < recogniser.resumable:
                    state = recogniser.run(state, layer, layer + 1, context)
            found = recogniser.recognise(state, recogniser.resumable, context)
            check_finite(batch, found)
            for utterance, recognised in zip(batch, found, strict=True):
                heard.hypotheses[utterance.path] = recognised.text
                if recognised.guide is not None:
                    heard.guides[utterance.path] = list(recognised.guide)
                posteriors.write(utterance.path, recognised.log_posteriors)
    histograms = plain.histograms()
    return heard, histograms, prepared.histograms() if preparation else histograms


def _write_summary(path: Path, split: Split, errors: WordErrors, heard: _Heard, precision: str) -> None:
    rows = []
    for u, words, wrong in zip(split.utterances, errors.words.tolist(), errors.errors.tolist(), strict=True):
        guide = {"guide": heard.guides[u.path]} if u.path in heard.guides else {}
        row = {"path": u.path, "words": words, "errors": wrong, "hypothesis": heard.hypotheses[u.path], **guide}
        rows.append(row)
    summary = {"wer": errors.wer, "words": int(errors.words.sum()), "precision": precision, "utterances": rows}
    write_json(path, summary)


def _layers_to_keep(recogniser: Recogniser, split: Split, index: Path, cache: Cache) -> list[int]:
    """Indices of the layers whose inputs are kept; raise `StableQuantError` where the disk has no room for them."""
    costs = list(layer_costs(recogniser).values())
    samples = padded_samples(recogniser, split.batches)
    chosen = choose_layers(costs, cache.disk_mb * MEGABYTE / samples, cache.dtype)
    if cache.disk_mb and not chosen:
        logging.warning(
            "config key 'cache': %s MB hold no layer's hidden values; all start from the audio", cache.disk_mb
        )
    planned = sum(costs[k].bytes for k in chosen) * samples * cache.dtype.itemsize / FLOAT_BYTES
    free = shutil.disk_usage(index.parent).free
    if planned > free:
        raise StableQuantError(
            index.parent,
            f"{free / MEGABYTE:.0f} MB are free, the hidden values to keep take {planned / MEGABYTE:.0f} MB",
            "free some, or lower 'disk_mb' of 'cache' in the config",
        )
    names = ", ".join(recogniser.layers[k] for k in chosen)
    logging.info("keeping what enters %s: %.0f MB", names or "no layer", planned / MEGABYTE)
    return chosen
