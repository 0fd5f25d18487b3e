"""The fp32 recognition of the calibration set, against which every layer is measured."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch

from stablequant.corpora.list_utterances import Utterance, read_utterances
from stablequant.errors import StableQuantError
from stablequant.quantization.collecting import collecting
from stablequant.quantization.histograms import Histogram
from stablequant.recognisers.batches import (
    FLOAT_BYTES,
    MEGABYTE,
    Batch,
    footprint,
    loaded,
    make_batches,
    tolerates_padding,
)
from stablequant.recognisers.ctc.decoding import Recognition
from stablequant.recognisers.ctc.front_end import FrontEnd, read_front_end
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.layers import QuantizedModule
from stablequant.scoring.word_errors import WordErrors
from stablequant.search.activation_folder import release
from stablequant.search.activations import choose_layers, identity, keeping
from stablequant.search.costs import layer_costs
from stablequant.search.racing_order import rounds
from stablequant.search.reduced_precision import prove_half, prove_precision
from stablequant.storage.arrays import ArrayReader, writing_arrays
from stablequant.storage.files import read_json, write_json


@dataclass(frozen=True)
class Split:
    """The calibration set as the search recognises it: in batches that come in an order drawn by ``seed``."""

    utterances: list[Utterance]
    batches: list[Batch]
    front_end: FrontEnd
    belongs: dict[str, str]
    seed: int = 0

    @property
    def samples(self) -> int:
        """Of audio in all batches, padding included."""
        return sum(len(batch) * max(u.samples for u in batch) for batch in self.batches)

    def sample(self, audio_seconds: float) -> list[Batch]:
        """What of each batch belongs to random utterances that hold ``audio_seconds``, or all where there is less.

        Which they are does not depend on how large batches are.
        """
        wanted = audio_seconds * self.front_end.sample_rate
        drawn = [self.utterances[i] for i in np.random.default_rng(self.seed).permutation(len(self.utterances))]
        before = accumulate((u.samples for u in drawn), initial=0)
        chosen = {u.path for u, heard in zip(drawn, before, strict=False) if heard < wanted}
        parts = [[u for u in batch if u.path in chosen] for batch in self.batches]
        return [part for part in parts if part]


def read_split(checkpoint: Path, utterances: Path, batch_mb: float, seed: int, raced: bool = False) -> Split:
    """The utterances of a table in batches whose hidden values take at most ``batch_mb`` megabytes.

    If ``raced``, whatever was heard when racing decides is a random part of them.
    """
    listed = read_utterances(utterances)
    config = read_json(checkpoint / "config.json")
    memory, padded = footprint(config), tolerates_padding(config)
    batches = [
        batch
        for part in (rounds(listed, seed) if raced else [listed])
        for batch in make_batches(part, memory, batch_mb * MEGABYTE, padded, seed)
    ]
    return Split(listed, batches, read_front_end(checkpoint), identity(checkpoint, batches), seed)


@dataclass(frozen=True)
class Reference:
    """What fp32 recognised.

    Attributes
    ----------
    errors: word errors in the order of the utterance table
    log_posteriors: ``(frames, classes)`` by the utterance's path
    precision: of the floating point that the search may use, as `recognise_reference` found
    """

    errors: WordErrors
    log_posteriors: ArrayReader
    precision: str


def load_reference(summary: Path, posteriors: Path) -> Reference:
    """Read what `recognise_reference` wrote to `Files`; raise `StableQuantError` where a file is damaged."""
    content = read_json(summary)
    rows = content["utterances"]
    errors = WordErrors(np.array([row["errors"] for row in rows]), np.array([row["words"] for row in rows]))
    return Reference(errors, ArrayReader(posteriors), content["precision"])


@dataclass(frozen=True)
class Recognised:
    """What one fp32 pass found beside its files: word errors, and the histograms of all activations.

    ``histograms`` are of magnitudes as they are; ``prepared`` are of the activations as the search quantizes them.
    """

    errors: WordErrors
    histograms: dict[str, Histogram]
    prepared: dict[str, Histogram]


@dataclass(frozen=True)
class Files:
    """Where `recognise_reference` writes to; ``activations`` is the index of the hidden values."""

    summary: Path
    posteriors: Path
    activations: Path


def recognise_reference(
    stages: Stages,
    modules: list[QuantizedModule],
    split: Split,
    files: Files,
    cache_mb: float,
    half: bool = False,
    precision: str = "float32",
    channel_scales: Mapping[str, np.ndarray] | None = None,
    recentre: bool = False,
    split_audio: bool = False,
) -> Recognised:
    """Recognise the split once: write ``files``, return the word errors and the histograms of all activations.

    Hidden values are kept of as many layers as ``cache_mb`` megabytes hold. ``half`` keeps them in half precision, and
    ``precision`` lets the search compute in bfloat16 or float16, and keep nothing; each only where no hypothesis
    changes by it.
    ``channel_scales``, ``recentre`` and ``split_audio`` say how activations are prepared for quantization, see
    `collecting`.
    """
    paths = [u.path for u in split.utterances]
    dtype = np.dtype(np.float16 if half else np.float32)
    if precision != "float32":
        logging.info("nothing is kept: what is proven of %s holds from the audio on", precision)
        cache_mb = 0
    files.activations.unlink(missing_ok=True)
    release(files.activations)  # what an earlier run left belongs to nothing now, and counts as free
    chosen = _layers_to_keep(stages, split, files.activations, cache_mb, dtype)
    recognition = Recognition(split.front_end.vocabulary)
    prepares = bool(channel_scales) or recentre or split_audio
    with (
        writing_arrays(files.posteriors, paths) as posteriors,
        keeping(files.activations, split.belongs, stages.names, chosen, len(split.batches), dtype) as writer,
        collecting(stages.model, modules) as plain,
        collecting(stages.model, modules if prepares else [], channel_scales, recentre, split_audio) as prepared,
    ):
        for number, (batch, audio) in enumerate(loaded(split.batches, split.front_end, "fp32")):
            frames = plain.frames = prepared.frames = stages.frames([u.samples for u in batch])
            hidden = stages.enter(audio)
            for layer in range(len(stages.names)):
                if layer in chosen:
                    writer.keep(layer, number, hidden)
                hidden = stages.run(hidden, layer, layer + 1, frames)
            log_posteriors = frames.rows(torch.log_softmax(hidden, dim=-1))
            recognition.add(batch, log_posteriors)
            for utterance, row in zip(batch, log_posteriors, strict=True):
                posteriors.write(utterance.path, row)
    histograms = plain.histograms()
    if half:
        prove_half(stages, split.batches, recognition, files.activations, split.belongs)
    if precision != "float32":
        precision = prove_precision(stages, split.batches, split.front_end, recognition, precision)
    measured = recognition.score(split.utterances)
    rows = [
        {"path": path, "words": words, "errors": errors, "hypothesis": recognition.hypotheses[path]}
        for path, words, errors in zip(paths, measured.words.tolist(), measured.errors.tolist(), strict=True)
    ]
    summary = {"wer": measured.wer, "words": int(measured.words.sum()), "precision": precision, "utterances": rows}
    write_json(files.summary, summary)
    return Recognised(measured, histograms, prepared.histograms() if prepares else histograms)


def _layers_to_keep(stages: Stages, split: Split, index: Path, cache_mb: float, dtype: np.dtype) -> list[int]:
    costs = list(layer_costs(stages).values())
    chosen = choose_layers(costs, cache_mb * MEGABYTE / split.samples, dtype)
    if cache_mb and not chosen:
        logging.warning("config key 'cache': %s MB hold no layer's hidden values; all start from the audio", cache_mb)
    planned = sum(costs[k].bytes for k in chosen) * split.samples * dtype.itemsize / FLOAT_BYTES
    free = shutil.disk_usage(index.parent).free
    if planned > free:
        raise StableQuantError(
            index.parent,
            f"{free / MEGABYTE:.0f} MB are free, the hidden values to keep take {planned / MEGABYTE:.0f} MB",
            "free some, or lower 'disk_mb' of 'cache' in the config",
        )
    names = ", ".join(stages.names[k] for k in chosen)
    logging.info("keeping what enters %s: %.0f MB", names or "no layer", planned / MEGABYTE)
    return chosen
