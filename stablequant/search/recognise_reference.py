"""Recognise the calibration set without quantization. All other measurements are compared with this reference."""

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
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Guide, Recogniser
from stablequant.recognisers.sizes import FLOAT_BYTES, MEGABYTE
from stablequant.scoring.word_errors import WordErrors
from stablequant.search.costs import layer_costs
from stablequant.search.hidden_values import choose_layers, writing_cache
from stablequant.search.hidden_values_folder import remove_cache
from stablequant.search.plausibility import check_plausible
from stablequant.search.reduced_precision import verify_half, verify_precision
from stablequant.search.reference import names_of, write_posteriors
from stablequant.search.split import Split, check_finite, loaded, padded_samples
from stablequant.storage.arrays import writing_arrays
from stablequant.storage.files import write_json

PAIRED, REDUCED = "paired", "bfloat16"  # with the first, the reference and all trials are computed in the second


@dataclass(frozen=True)
class Files:
    """The files that `recognise_reference` writes.

    Attributes
    ----------
    summary: hypotheses and word errors, JSON
    posteriors: log posteriors of each utterance
    hidden_values: index of the cached hidden values
    """

    summary: Path
    posteriors: Path
    hidden_values: Path


@dataclass(frozen=True)
class Cache:
    """Settings for the cache of hidden values.

    Attributes
    ----------
    key: what the values belong to, see `stablequant.search.hidden_values.cache_key`
    disk_mb: limit for their size on disk, in megabytes
    half: whether they are stored in half precision; a layer for which this changes a hypothesis is not cached
    """

    key: Mapping[str, str]
    disk_mb: float
    half: bool = False

    @property
    def dtype(self) -> np.dtype:
        """Type of the values on disk."""
        return np.dtype(np.float16 if self.half else np.float32)


@dataclass(frozen=True)
class Measured:
    """What the fp32 pass measured, beside the files.

    Attributes
    ----------
    errors: word errors in the order of the split
    histograms: histograms of the magnitudes of all unchanged activations, by activation name
    prepared: histograms of the activations as the search quantizes them, by activation name
    """

    errors: WordErrors
    histograms: dict[str, Histogram]
    prepared: dict[str, Histogram]


@dataclass
class _Recognitions:
    """What was recognised so far, by key of the utterance."""

    hypotheses: dict[str, str] = field(default_factory=dict)
    guides: dict[str, Guide] = field(default_factory=dict)


def recognise_reference(
    recogniser: Recogniser,
    split: Split,
    files: Files,
    cache: Cache,
    preparation: Preparation | None = None,
    precision: str = "float32",
    max_wer: float | None = None,
) -> Measured:
    """Recognise the split, write ``files``, and return the word errors and the histograms of all activations.

    Hidden values of as many layers are cached as ``cache`` allows. ``preparation`` says how activations are prepared
    for quantization. With ``precision`` bfloat16 or float16, the search may compute in it if this changes no
    hypothesis; then hidden values are not cached. With ``paired`` the split is recognised twice, in float32 for the
    histograms and in bfloat16 for the rest, and the search computes in bfloat16: a trial and its reference then have
    the same rounding. ``max_wer`` is the highest WER in percent that is allowed, if any.

    Raises
    ------
    StableQuantError
        when a recording cannot be read, the network's output contains NaN or infinity, the disk has no space for the
        cache, or the WER is above ``max_wer``.
    """
    if precision not in ("float32", PAIRED):
        logging.info("hidden values are not cached: %s was verified only from the audio", precision)
        cache = Cache(cache.key, 0, cache.half)
    remove_cache(files.hidden_values)  # an earlier run may have left it; remove it before free space is measured
    files.hidden_values.unlink(missing_ok=True)
    chosen = _layers_to_keep(recogniser, split, files.hidden_values, cache)
    first = [] if precision == PAIRED else chosen
    heard, plain, prepared = _one_pass(recogniser, split, files, cache, first, recogniser.modules, preparation)
    errors = score(split.utterances, heard.hypotheses)
    if max_wer is not None:
        try:
            check_plausible(split.utterances, heard.hypotheses, errors, max_wer)
        except StableQuantError:
            remove_cache(files.hidden_values)
            raise
    if precision == PAIRED:
        exact, recogniser = errors, recogniser.reduced(REDUCED)
        heard, _, _ = _one_pass(recogniser, split, files, cache, chosen, [], None)
        errors = score(split.utterances, heard.hypotheses)
        logging.info("the search computes in %s: WER %.2f %%, in float32 %.2f %%", REDUCED, errors.wer, exact.wer)
    if cache.half:
        verify_half(recogniser, split.batches, heard.hypotheses, heard.guides, files.hidden_values, cache.key)
    if precision == PAIRED:
        precision = REDUCED
    elif precision != "float32":
        precision = verify_precision(recogniser, split.batches, heard.hypotheses, heard.guides, precision)
    _write_summary(files.summary, split, errors, heard, precision)
    return Measured(errors, plain, prepared)


def _one_pass(
    recogniser: Recogniser,
    split: Split,
    files: Files,
    cache: Cache,
    chosen: Sequence[int],
    modules: Sequence[QuantizedModule],
    preparation: Preparation | None,
) -> tuple[_Recognitions, dict[str, Histogram], dict[str, Histogram]]:
    """Recognise every batch, write posteriors and hidden values, and return texts and both kinds of histograms.

    The histograms are those of ``modules``.
    """
    heard = _Recognitions()
    with ExitStack() as stack:
        names = [name for utterance in split.utterances for name in names_of(utterance)]
        posteriors = stack.enter_context(writing_arrays(files.posteriors, names))
        writer = stack.enter_context(
            writing_cache(files.hidden_values, cache.key, recogniser.layers, chosen, len(split.batches), cache.dtype)
        )
        plain = stack.enter_context(collecting(recogniser.model, modules))
        prepared = stack.enter_context(collecting(recogniser.model, modules if preparation else [], preparation))
        for number, (batch, context, state) in enumerate(loaded(recogniser, split.batches, "reference")):
            plain.context = prepared.context = context
            for layer in range(recogniser.resumable + 1):
                if layer in chosen:
                    writer.keep(layer, number, state)
                if layer < recogniser.resumable:
                    state = recogniser.run(state, layer, layer + 1, context)
            found = recogniser.recognise(state, recogniser.resumable, context)
            check_finite(batch, found)
            for utterance, recognised in zip(batch, found, strict=True):
                heard.hypotheses[utterance.key] = recognised.text
                if recognised.guide is not None:
                    heard.guides[utterance.key] = list(recognised.guide)
                write_posteriors(posteriors, utterance, recognised.log_posteriors)
    histograms = plain.histograms()
    return heard, histograms, prepared.histograms() if preparation else histograms


def _write_summary(path: Path, split: Split, errors: WordErrors, heard: _Recognitions, precision: str) -> None:
    rows: list[dict[str, object]] = []
    for u, words, wrong in zip(split.utterances, errors.words.tolist(), errors.errors.tolist(), strict=True):
        guide = {"guide": heard.guides[u.key]} if u.key in heard.guides else {}
        speaker = {} if u.speaker is None else {"speaker": u.speaker}
        row = {"path": u.key, "words": words, "errors": wrong, "hypothesis": heard.hypotheses[u.key]} | speaker | guide
        rows.append(row)
    summary = {"wer": errors.wer, "words": int(errors.words.sum()), "precision": precision, "utterances": rows}
    write_json(path, summary)


def _layers_to_keep(recogniser: Recogniser, split: Split, index: Path, cache: Cache) -> list[int]:
    """Indices of the layers whose inputs are cached; raise `StableQuantError` if the disk has no space for them."""
    costs = list(layer_costs(recogniser).values())
    samples = padded_samples(recogniser, split.batches)
    chosen = choose_layers(costs, cache.disk_mb * MEGABYTE / samples, cache.dtype)
    if cache.disk_mb and not chosen:
        logging.warning(
            "config key 'cache: disk_mb': %s MB cannot hold any layer's hidden values; all probes start from the audio",
            cache.disk_mb,
        )
    planned = sum(costs[k].bytes for k in chosen) * samples * cache.dtype.itemsize / FLOAT_BYTES
    free = shutil.disk_usage(index.parent).free
    if planned > free:
        raise StableQuantError(
            index.parent,
            f"only {free / MEGABYTE:.0f} MB are free, but the cached hidden values need {planned / MEGABYTE:.0f} MB",
            "free some, or lower 'disk_mb' of 'cache' in the config",
        )
    names = ", ".join(recogniser.layers[k] for k in chosen)
    logging.info("caching the inputs of %s: %.0f MB", names or "no layer", planned / MEGABYTE)
    return chosen
