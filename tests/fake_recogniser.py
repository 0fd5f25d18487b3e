"""A recogniser of five tiny layers in torch, and the same in NumPy, for tests of the search that must be fast.

It keeps to `stablequant.recognisers.recogniser.Recogniser` and refuses what that interface forbids. Its parts stand for
those of real ones: a convolution that reads the audio, two products that read the same tensor, a grouped convolution
that pads, a shortcut that makes a state of two tensors, and a head.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import log_softmax
from torch import nn

from stablequant.corpora.utterance import Batch, Utterance
from stablequant.quantization.collecting import Preparation
from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.batches import make_batches
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Guide, Recognised, State
from stablequant.recognisers.sizes import Footprint
from stablequant.search.hidden_values import HiddenValues
from stablequant.search.recognise_reference import Cache, Files, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.split import Split
from stablequant.search.trials import Calibration

RATE = 100  # Hz
VOCABULARY = Vocabulary(["<pad>", "|", "A", "B", "C", "D"], blank=0)
FRONT_END = FrontEnd(RATE, do_normalize=False, vocabulary=VOCABULARY, shortest_samples=2)
LAYERS = ["front", "mix", "near", "deep", "head"]
MODULES = [
    QuantizedModule("front", "cnn", "front", "front"),
    QuantizedModule("mix", "block", "mix.left", "mix.in"),
    QuantizedModule("mix", "block", "mix.right", "mix.in"),
    QuantizedModule("mix", "block", "mix.out", "mix.out"),
    QuantizedModule("near", "positional", "near", "near"),
    QuantizedModule("deep", "block", "deep", "deep"),
    QuantizedModule("head", "head", "head", "head"),
]
SHAPES = {
    "front": (4, 1, 2),
    "mix.left": (6, 4),
    "mix.right": (6, 4),
    "mix.out": (6, 6),
    "near": (6, 2, 3),
    "deep": (6, 6),
    "head": (6, 6),
}


def drawn(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Weights with two decimal places."""
    spread = 1.5 / np.sqrt(np.prod(shape[1:]))
    return (np.random.default_rng(number).normal(size=shape) * spread).round(2).astype(np.float32)


WEIGHTS = {name: drawn(shape, number) for number, (name, shape) in enumerate(SHAPES.items())}
BIASES = {
    name: drawn((shape[0],), 100 + number) * np.float32(0.2) for number, (name, shape) in enumerate(SHAPES.items())
}
AFTER = drawn((7, 6), 200)  # added to a token's logits, by the token before it; of the first, the last row


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(1, 4, 2, stride=2)
        self.mix = nn.ModuleDict({"left": nn.Linear(4, 6), "right": nn.Linear(4, 6), "out": nn.Linear(6, 6)})
        self.near = nn.Conv1d(6, 6, 3, padding=1, groups=3)
        self.deep = nn.Linear(6, 6)
        self.head = nn.Linear(6, 6)
        for name, weight in WEIGHTS.items():
            self.get_submodule(name).weight.data = torch.from_numpy(weight.copy())
            self.get_submodule(name).bias.data = torch.from_numpy(BIASES[name].copy())
        self.requires_grad_(False)


class Lengths:
    """Context of a batch; two samples make a frame."""

    def __init__(self, samples: Sequence[int]) -> None:
        self.audio = list(samples)
        self.frames = [n // 2 for n in samples]
        self.samples = max(samples) * len(samples)
        self.padded = len(set(samples)) > 1

    def lengths(self, module: QuantizedModule) -> list[int]:
        return self.audio if module.layer == "front" else self.frames

    def silenced(self, hidden: torch.Tensor) -> torch.Tensor:
        """``hidden`` ``(utterances, frames, channels)`` with zeros for padding."""
        if not self.padded:
            return hidden
        frames = torch.arange(hidden.shape[1]) < torch.tensor(self.frames)[:, None]
        return hidden * frames[..., None]


@dataclass
class FakeRecogniser:
    """``guided`` makes it a decoder, whose token depends on the one before it; ``padded`` lets batches hold different
    lengths; ``audio`` is by the utterance's path."""

    audio: dict[str, np.ndarray] = field(default_factory=dict)
    resumable: int = len(LAYERS) - 1
    guided: bool = False
    padded: bool = True
    dtype: torch.dtype = torch.float32
    model: nn.Module = field(default_factory=_Network)
    samples: Counter[str] = field(default_factory=Counter)

    modules = MODULES
    layers = LAYERS
    front_end = FRONT_END

    def __post_init__(self) -> None:
        torch.set_num_threads(1)  # a second thread costs products as small as these more than it saves

    def reduced(self, precision: str) -> "FakeRecogniser":
        """Every layer's output is rounded to ``precision``."""
        return replace(self, dtype=getattr(torch, precision), samples=Counter())

    def batches(self, utterances: Sequence[Utterance], budget: float, seed: int) -> list[Batch]:
        return make_batches(utterances, Footprint(4, 0, 2), budget, self.padded, seed)

    def context(self, samples: Sequence[int]) -> Lengths:
        return Lengths(samples)

    def load(self, batch: Batch) -> State:
        found = np.zeros((len(batch), max(u.samples for u in batch)), dtype=np.float32)
        for row, utterance in zip(found, batch, strict=True):
            row[: utterance.samples] = self.audio[utterance.path]
        return {"hidden": torch.from_numpy(found)}

    def silence(self, samples: int) -> State:
        return {"hidden": torch.zeros(1, samples)}

    def enter(self, arrays: Mapping[str, np.ndarray]) -> State:
        assert all(values.dtype == np.float32 for values in arrays.values())
        return {name: torch.from_numpy(values) for name, values in arrays.items()}

    def run(self, state: State, first: int, last: int, context: Lengths) -> State:
        if not 0 <= first <= last <= self.resumable:
            raise ValueError(f"no pass goes from {first} to {last}")
        return self._run(state, first, last, context)

    def recognise(
        self, state: State, first: int, context: Lengths, guides: Sequence[Guide] | None = None
    ) -> list[Recognised]:
        if not 0 <= first <= self.resumable:
            raise ValueError(f"no pass starts at {first}")
        hidden = self._run(state, first, len(LAYERS), context)["hidden"]
        rows = [row[:frames] for row, frames in zip(hidden, context.frames, strict=True)]
        if self.guided:
            return [follow(row.numpy(), guide) for row, guide in zip(rows, guides or [None] * len(rows), strict=True)]
        return [plain(torch.log_softmax(row, dim=-1).numpy()) for row in rows]

    def _run(self, state: State, first: int, last: int, context: Lengths) -> State:
        assert len(state["hidden"]) == len(context.frames)
        tensors = dict(state)
        for name in LAYERS[first:last]:
            tensors = {
                key: values.to(self.dtype).float() for key, values in self._layer(name, tensors, context).items()
            }
            self.samples[name] += context.samples
        return tensors

    def _layer(self, name: str, tensors: State, context: Lengths) -> State:
        hidden, layer = tensors["hidden"], self.model.get_submodule(name)
        if name == "front":
            hidden = layer(hidden[:, None]).relu().mT
            return {"hidden": hidden, "shortcut": hidden.mean(-1, keepdim=True)}
        if name == "mix":
            hidden = layer["out"](layer["left"](hidden).relu() - layer["right"](hidden).relu())
        elif name == "near":
            hidden = hidden + layer(context.silenced(hidden).mT).mT
        elif name == "deep":
            hidden = hidden + layer(hidden + tensors["shortcut"]).relu()
        else:
            return {"hidden": layer(hidden)}
        return {"hidden": hidden, "shortcut": tensors["shortcut"]}


def plain(log_posteriors: np.ndarray) -> Recognised:
    """The best path of CTC."""
    return Recognised(VOCABULARY.decode(log_posteriors.argmax(axis=-1)), log_posteriors)


def follow(logits: np.ndarray, guide: Guide) -> Recognised:
    """A token per frame, each chosen after the one before it; posteriors after the ones of ``guide``."""

    def normalised(before: Sequence[int]) -> np.ndarray:
        moved = logits + AFTER[[len(AFTER) - 1, *before[:-1]]]
        return log_softmax(moved, axis=-1).astype(np.float32)

    own: list[int] = []
    for frame in logits:
        own.append(int((frame + AFTER[own[-1] if own else len(AFTER) - 1]).argmax()))
    return Recognised(VOCABULARY.decode(np.array(own)), normalised(guide or own), own)


Quantizer = Callable[[np.ndarray], np.ndarray]


def by_hand(
    audio: np.ndarray,
    activations: Mapping[str, Quantizer] | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
    read: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Logits ``(frames, classes)`` of the same network in NumPy, one product after the other.

    ``activations`` change what modules read, by activation; ``weights`` take the place of the network's, by module.
    ``read`` receives what each activation was, ``(channels, frames)``.
    """
    chosen = {**WEIGHTS, **(weights or {})}

    def enter(activation: str, values: np.ndarray) -> np.ndarray:
        if read is not None:
            read[activation] = values
        return (activations or {}).get(activation, lambda same: same)(values)

    def product(name: str, values: np.ndarray) -> np.ndarray:
        return chosen[name] @ values + BIASES[name][:, None]

    samples = enter("front", audio[None, : len(audio) // 2 * 2].astype(np.float64))
    hidden = np.maximum(product_of_pairs(chosen["front"][:, 0], samples[0]) + BIASES["front"][:, None], 0)
    shortcut = hidden.mean(axis=0, keepdims=True)
    entered = enter("mix.in", hidden)
    difference = np.maximum(product("mix.left", entered), 0) - np.maximum(product("mix.right", entered), 0)
    hidden = product("mix.out", enter("mix.out", difference))
    padded = np.pad(enter("near", hidden), ((0, 0), (1, 1)))
    near = np.zeros_like(hidden)
    for out in range(6):
        for channel in range(2):
            for place in range(3):
                source = padded[out // 2 * 2 + channel, place : place + hidden.shape[1]]
                near[out] += chosen["near"][out, channel, place] * source
    hidden = hidden + near + BIASES["near"][:, None]
    hidden = hidden + np.maximum(product("deep", enter("deep", hidden + shortcut)), 0)
    return product("head", enter("head", hidden)).T


def product_of_pairs(weight: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return weight @ samples.reshape(-1, 2).T


def posteriors_by_hand(audio: np.ndarray, **changes: Mapping) -> np.ndarray:
    """Log posteriors ``(frames, classes)``."""
    return log_softmax(by_hand(audio, **changes), axis=-1)


def songs(count: int = 12, seed: int = 0, equal: bool = False) -> dict[str, np.ndarray]:
    """Audio by path: noise with a few spikes, of lengths that differ unless ``equal``, always even."""
    draw = np.random.default_rng(seed)
    found = {}
    for number in range(count):
        length = 60 if equal else 2 * int(draw.integers(20, 40))
        samples = draw.normal(size=length) * draw.uniform(0.5, 2)
        samples[draw.integers(length)] *= 20
        found[f"/songs/{number:02d}.wav"] = samples.astype(np.float32)
    return found


def utterances_of(recogniser: FakeRecogniser) -> list[Utterance]:
    """Of the recogniser's audio. Every third transcript has a word more than is recognised."""
    listed = []
    for number, (path, samples) in enumerate(recogniser.audio.items()):
        context = recogniser.context([len(samples)])
        (found,) = recogniser.recognise({"hidden": torch.from_numpy(samples[None])}, 0, context)
        words = found.text + (" A" if number % 3 == 0 else "")
        listed.append(Utterance(Path(path).stem, path, len(samples), words, f"{number:064d}"))
    recogniser.samples.clear()
    return listed


def shout(recogniser: FakeRecogniser, utterance: Utterance) -> None:
    """Make an utterance so loud that what enters two of the four inner layers does not fit into half precision."""
    context = recogniser.context([utterance.samples])
    for _ in range(2):  # biases matter less the second time
        state = recogniser.load([utterance])
        states = [recogniser.run(state, 0, layer, context)["hidden"] for layer in (1, 2, 3, 4)]
        reached = sorted(hidden.abs().max().item() for hidden in states)
        recogniser.audio[utterance.path] *= np.float32(65504 / np.mean(reached[1:3]))


def split_of(recogniser: FakeRecogniser, budget: float = 1200, seed: int = 0) -> Split:
    """The recogniser's audio in batches of some utterances."""
    utterances = utterances_of(recogniser)
    return Split(utterances, recogniser.batches(utterances, budget, seed), RATE, seed)


@dataclass(frozen=True)
class FakeCalibrated:
    """The fake recogniser after its fp32 pass over a split."""

    recogniser: FakeRecogniser
    split: Split
    histograms: dict[str, Histogram]
    prepared: dict[str, Histogram]
    calibration: Calibration
    files: Files

    @property
    def largest(self) -> dict[str, Range]:
        """Ranges that clip nothing."""
        return {name: full_range(histogram) for name, histogram in self.prepared.items()}


KEY = {"checkpoint": "fake"}


def calibrate_fake(
    recogniser: FakeRecogniser,
    folder: Path,
    split: Split | None = None,
    preparation: Preparation | None = None,
    cache_mb: float = 0,
    half: bool = False,
    precision: str = "float32",
    rounded: Mapping[str, RoundedWeight] | None = None,
    seed: int = 0,
) -> FakeCalibrated:
    """Run the fp32 pass, its files in ``folder``."""
    split = split or split_of(recogniser)
    files = Files(folder / "reference.json", folder / "posteriors.safetensors", folder / "hidden_values.json")
    found = recognise_reference(recogniser, split, files, Cache(KEY, cache_mb, half), preparation, precision)
    reference = load_reference(files.summary, files.posteriors)
    hidden_values = HiddenValues(files.hidden_values, KEY, recogniser.layers) if cache_mb else None
    scales = preparation.channel_scales if preparation else {}
    calibration = Calibration(split, reference, hidden_values, seed, scales, rounded or {})
    return FakeCalibrated(recogniser, split, found.histograms, found.prepared, calibration, files)
