"""Utterances recognised at once, within a memory budget: of one length, or padded where that changes nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from stablequant.corpora.audio import AudioError, normalise, read_audio
from stablequant.corpora.list_utterances import Utterance
from stablequant.errors import StableQuantError
from stablequant.progress import progress
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.storage.files import checksum, read_json

FLOAT_BYTES = 4
MEGABYTE = 10**6
COPIES = 4  # of a convolution's output that are alive at once: itself, its norm's input and output, the activation's
PADDING = 0.1  # most of a batch that may be padding: more costs more than the larger batch gains

PADDABLE = ("hubert", "wav2vec2", "wavlm")

Batch = list[Utterance]


def tolerates_padding(config: Mapping[str, Any]) -> bool:
    """Whether shorter utterances may be padded into a batch with longer ones without changing their output.

    A group norm over time sees the padding, and so do a batch norm before the positional convolution, data2vec's
    stack of positional convolutions and a conformer's depthwise convolutions.
    """
    layer_norm = config["model_type"] in PADDABLE and config["feat_extract_norm"] == "layer"
    return layer_norm and not config.get("conv_pos_batch_norm", False)


@dataclass(frozen=True)
class Footprint:
    """Memory that one utterance's hidden values take while it is recognised.

    Attributes
    ----------
    per_sample: bytes per sample of audio, of the layer that takes most
    per_pair: bytes per pair of frames, where a layer's attention scores are held; 0 where they never are
    hop: samples from one frame to the next
    """

    per_sample: float
    per_pair: float
    hop: int

    def bytes(self, samples: int) -> float:
        """Of one utterance of so many ``samples``."""
        return self.per_sample * samples + self.per_pair * (samples / self.hop) ** 2


def footprint(config: Mapping[str, Any]) -> Footprint:
    """Estimate from a recogniser's ``config.json``; activations are float32."""
    hops = list(accumulate(config["conv_stride"], lambda a, b: a * b))
    convolutions = max(COPIES * width / hop for width, hop in zip(config["conv_dim"], hops, strict=True))
    widest = max(3 * config["hidden_size"], config["intermediate_size"])
    scores = config["num_attention_heads"] if config["model_type"] in ("wavlm", "wav2vec2-conformer") else 0
    per_sample = max(convolutions, (COPIES * config["hidden_size"] + 2 * widest) / hops[-1])
    return Footprint(FLOAT_BYTES * per_sample, FLOAT_BYTES * COPIES * scores, hops[-1])


def read_footprint(config: Path) -> Footprint:
    """`footprint` of a ``config.json``, whatever it holds; raise `StableQuantError` where that is no recogniser's."""
    try:
        found = footprint(read_json(config))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise StableQuantError(config, f"not a recogniser's configuration ({error!r})", "restore the file") from error
    whole = isinstance(found.hop, int) and found.hop > 0
    if not (whole and 0 < found.per_sample < math.inf and 0 <= found.per_pair < math.inf):
        raise StableQuantError(config, "not a recogniser's sizes", "restore the file")
    return found


def make_batches(
    utterances: list[Utterance],
    memory: Footprint,
    budget: float,
    padded: bool = False,
    seed: int | None = None,
    most: float = math.inf,
) -> list[Batch]:
    """Batches whose hidden values take at most ``budget`` bytes, and of one utterance where that alone takes more; of
    ``most`` utterances at most.

    Inside one all utterances are equally long, or, if ``padded``, as long as leaves at most a tenth of the batch to
    padding. Short ones come first; with ``seed`` the batches come in a random order instead, and who shares one with
    whom is random among equally long utterances, so that the first batches are no speaker's alone.
    """
    draw = None if seed is None else np.random.default_rng(seed)
    drawn = utterances if draw is None else [utterances[i] for i in draw.permutation(len(utterances))]
    batches: list[Batch] = []
    for utterance in sorted(drawn, key=lambda u: u.samples):
        if not batches or len(batches[-1]) >= most or not _fits(batches[-1], utterance, memory, budget, padded):
            batches.append([])
        batches[-1].append(utterance)
    return batches if draw is None else [batches[i] for i in draw.permutation(len(batches))]


def _fits(batch: Batch, longest: Utterance, memory: Footprint, budget: float, padded: bool) -> bool:
    rows = len(batch) + 1
    if rows * memory.bytes(longest.samples) > budget:
        return False
    if not padded:
        return longest.samples == batch[0].samples
    audio = sum(u.samples for u in batch) + longest.samples
    return audio >= (1 - PADDING) * rows * longest.samples


def loaded(batches: Sequence[Batch], front_end: FrontEnd, label: str) -> Iterator[tuple[Batch, np.ndarray]]:
    """Each batch with its audio, showing progress as it is consumed."""
    with progress(total=sum(len(batch) for batch in batches), label=label) as recognised:
        for batch in batches:
            yield batch, load_batch(batch, front_end)
            recognised.update(len(batch))


def load_batch(batch: Batch, front_end: FrontEnd) -> np.ndarray:
    """Audio of the batch as the network takes it, float32 ``(utterances, samples)``; zeros follow a shorter one.

    Raise `StableQuantError` where a recording cannot be read or has changed since it was listed.
    """
    audio = np.zeros((len(batch), max(u.samples for u in batch)), dtype=np.float32)
    for row, utterance in zip(audio, batch, strict=True):
        row[: utterance.samples] = _load(utterance, front_end)
    return audio


def _load(utterance: Utterance, front_end: FrontEnd) -> np.ndarray:
    try:
        samples = read_audio(Path(utterance.path), front_end.sample_rate).samples
    except AudioError as error:
        raise StableQuantError(
            utterance.path,
            str(error),
            "restore the file, or list the split again: snakemake --forcerun list_utterances",
        ) from error
    if checksum(Path(utterance.path)) != utterance.sha256:
        raise StableQuantError(
            utterance.path,
            "the audio changed since it was listed",
            "restore it, or let what was measured on it be made again: snakemake --forcerun list_utterances",
        )
    return normalise(samples, front_end.epsilon) if front_end.do_normalize else samples
