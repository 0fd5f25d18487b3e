"""Find channels that reach far beyond the rest of their activation, and choose how each activation is quantized.

Some activations of large models have a few channels that are many times larger than all others (Sun et al., "Massive
Activations in Large Language Models", 2024). One INT8 scale for all channels then leaves few levels for the rest, and
clipping loses what the large values mean. Where an activation has such channels, these forms are tried:

- `PLAIN`: no channel is treated apart.
- `SCALED`: only these channels are divided, so that they reach as far as the rest. The weights take the scales up. This
  costs no product.
- `EQUALISED`: equalised as all other activations are, which costs no product either.
- `CARRIED`: these channels are taken out and quantized apart, as two INT8 numbers. This costs two small products.

What is chosen depends on the divergence of the posteriors from fp32, with only this activation and the weights that
read it in INT8. The channels are scaled unless that is clearly worse. In the other forms without more products, few
values reach as far as they do, and the range of least squared error ends before these. What that costs shows in few
recordings, perhaps in none of those that are measured. Channels are carried only where this gains much. The divergence
is measured on a part of the calibration audio, and maxima and ranges on another one. On the same audio, forms would win
that fit it too closely: the scales of one channel, or a range, that other audio goes beyond.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from stablequant.corpora.utterance import Batch
from stablequant.progress import progress
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.histograms import Histogram
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.modules import QuantizedModule, layer_of_activation
from stablequant.recognisers.operations import groups_of, operation_of
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.equalise_channels import measure_channels
from stablequant.search.split import Split
from stablequant.search.trials import Trial
from stablequant.search.two_parts import TwoParts, two_parts
from stablequant.workflow.procedure import MassiveChannels

NONE, PLAIN, EQUALISED, SCALED, CARRIED = "none", "plain", "equalised", "scaled", "carried"
FEW = 8  # at most one of this many channels may be massive
COLUMNS = [
    *("layer", "activation", "form", "channels", "reach"),
    *("divergence_before", "divergence_after", "more_products"),
]


@dataclass(frozen=True)
class Option:
    """One way to quantize an activation.

    Attributes
    ----------
    form: `NONE` without massive channels, otherwise `PLAIN`, `EQUALISED`, `SCALED` or `CARRIED`
    channels: indices of the channels that are treated apart, ascending
    scales: channel scales of the activation, float32 ``(channels,)``; None if it has none
    """

    form: str
    channels: tuple[int, ...]
    scales: np.ndarray | None


@dataclass(frozen=True)
class Chosen:
    """The result of the search.

    Attributes
    ----------
    channel_scales: of all activations, with those that were scaled, float32 ``(channels,)`` by activation name
    carried: indices of the carried channels by activation name
    table: one row per activation with the columns `COLUMNS`
    """

    channel_scales: dict[str, np.ndarray]
    carried: dict[str, tuple[int, ...]]
    table: pd.DataFrame


def untouched(channel_scales: Mapping[str, np.ndarray]) -> Chosen:
    """The result without this step: all ``channel_scales`` stay, and no channels are carried."""
    return Chosen(dict(channel_scales), {}, pd.DataFrame(columns=COLUMNS))


def choose_massive_channels(
    recogniser: Recogniser, split: Split, preparation: Preparation, settings: MassiveChannels
) -> Chosen:
    """Choose for every activation how its massive channels are quantized, if it has any.

    ``preparation`` says how activations are prepared without this step. Two parts of ``split`` are used, see
    `Split.halves`. An activation without massive channels keeps its channel scales.
    """
    batches, judged = split.halves(settings.audio_seconds)
    maxima = measure_channels(recogniser, batches, 100).maxima()
    readers = {name: [m for m in recogniser.modules if m.activation == name] for name in maxima}
    scales = preparation.channel_scales
    options = {}
    for name, reached in maxima.items():
        grouped = groups_of(operation_of(recogniser.model, readers[name][0])) > 1
        options[name] = options_of(reached, scales.get(name), grouped, settings.channels, settings.reach)
    tried = {name: found for name, found in options.items() if found[0].form != NONE}
    logging.info("%d of %d activations may have massive channels", len(tried), len(options))
    measuring = partial(_divergences, recogniser, split, batches, judged, preparation, readers)
    divergences = measuring(tried, settings.divergence) if tried else {}
    found = untouched(scales)
    rows: list[list[object]] = []
    for name, reached in maxima.items():
        measured = divergences.get(name, [math.nan])
        forms = [option.form for option in options[name]]
        number = choose(forms, measured, settings.gain, settings.divergence)
        option = options[name][number]
        if option.form == CARRIED:
            found.carried[name] = option.channels
        found.channel_scales.pop(name, None)
        if option.scales is not None:
            found.channel_scales[name] = option.scales
        more = 200 * len(option.channels) / len(reached) if option.form == CARRIED else 0.0
        farthest = max((reach(reached, n) for n in settings.channels if n * FEW <= len(reached)), default=1.0)
        row = [layer_of_activation(name), name, option.form, len(option.channels), farthest]
        rows.append([*row, measured[0], measured[number], more])
    return replace(found, table=pd.DataFrame(rows, columns=COLUMNS))


def reach(maxima: np.ndarray, count: int) -> float:
    """How many times as far as the rest the largest channel reaches, if the rest is all but ``count`` channels.

    ``maxima`` ``(channels,)`` are the channels' largest magnitudes. It is infinite if the rest is silent.
    """
    descending = np.sort(maxima)[::-1]
    if descending[count] == 0:
        return math.inf if descending[0] > 0 else 1.0
    return float(descending[0] / descending[count])


def choose(forms: Sequence[str], divergences: Sequence[float], gain: float, tolerated: float) -> int:
    """Index of the option to take, by the form and the divergence of each; fewer channels come first.

    Without carrying it is the best one that is scaled, or the best of all where that is better by more than
    ``tolerated``. If carrying lowers the divergence of the best of these by more than ``tolerated``, and by at least
    the share ``gain``, it is the first carried one that is above the best by at most ``tolerated``.
    """
    carried = [i for i, form in enumerate(forms) if form == CARRIED]
    free = [i for i, form in enumerate(forms) if form != CARRIED]
    before, best = (min((divergences[i] for i in some), default=math.inf) for some in (free, carried))
    if before - best > tolerated and before - best >= gain * before:  # not if nothing was measured
        return next(i for i in carried if divergences[i] <= best + tolerated)
    return min(free, key=lambda i: divergences[i] - tolerated * (forms[i] == SCALED))


def options_of(
    maxima: np.ndarray, scales: np.ndarray | None, grouped: bool, numbers: Sequence[int], least_reach: float
) -> list[Option]:
    """The options for an activation, `PLAIN` first: only `NONE` if it has no massive channels.

    ``maxima`` ``(channels,)`` are the largest magnitudes of its channels, and ``scales`` their channel scales. One of
    ``numbers`` is tried if it is not more than a share of `FEW` and if that many channels reach at least
    ``least_reach`` times as far as the rest. Channels of ``grouped`` convolutions are not carried, because a product of
    a few channels needs one group.
    """
    counts = [n for n in sorted(numbers) if n * FEW <= len(maxima) and reach(maxima, n) >= least_reach]
    farthest = np.argsort(-maxima, kind="stable")
    if not counts:
        return [Option(NONE, (), scales)]
    found = [Option(PLAIN, (), None)]
    for count in counts:
        channels = np.sort(farthest[:count])
        divisors = np.ones(len(maxima), dtype=np.float32)
        divisors[channels] = maxima[channels] / (maxima[farthest[count]] or maxima[channels].min() or 1)
        found.append(Option(SCALED, tuple(channels.tolist()), divisors))
    if scales is not None:
        found.append(Option(EQUALISED, (), scales))
    for count in [] if grouped else counts:
        found.append(Option(CARRIED, tuple(np.sort(farthest[:count]).tolist()), None))
    return found


def _divergences(
    recogniser: Recogniser,
    split: Split,
    calibrating: Sequence[Batch],
    judged: Sequence[Batch],
    preparation: Preparation,
    readers: Mapping[str, Sequence[QuantizedModule]],
    tried: Mapping[str, Sequence[Option]],
    least: float,
) -> dict[str, list[float]]:
    """Divergence of each option of each activation of ``tried``, in nats per position, by activation name.

    Ranges are those of the batches ``calibrating``, divergences those of ``judged``. It is infinite for an option that
    was given up as worse than another, and for what comes after scaled channels if one before it diverges by at most
    ``least``.
    """
    found: dict[str, list[float]] = {}
    with two_parts(recogniser, split, calibrating, judged) as parts:
        histograms = _histograms(recogniser, parts, preparation, readers, tried)
        layers = {name: readers[name][0].layer for name in tried}
        for name in progress(sorted(tried, key=lambda name: parts.place(layers[name])), label="massive channels"):
            parts.enter(layers[name])
            trials: list[Trial] = []
            for option, histogram in zip(tried[name], histograms[name], strict=True):
                if option.form in (EQUALISED, CARRIED) and min(map(_divergence, trials)) <= least:
                    break
                rivals = trials[1:] if option.form == SCALED else trials  # it may be worse than plain, see `choose`
                finished = [other for other in rivals if not other.stopped]
                ranges = {name: mse_range(histogram)}
                scales = {} if option.scales is None else {name: option.scales}
                weights = fake_quantized_weights(recogniser.model, readers[name], scales)
                with fake_quantized(recogniser.model, readers[name], ranges, scales, weights):
                    trial = parts.recognise(ranges, partial(_is_worse, others=finished))
                trials.append(trial)
                form, measured = option.form, trial.divergence
                logging.info("%s, %d channels %s: %.3g nats per position", name, len(option.channels), form, measured)
            unmeasured = [math.inf] * (len(tried[name]) - len(trials))
            found[name] = [*map(_divergence, trials), *unmeasured]
    return found


def _divergence(trial: Trial) -> float:
    """Nats per position; infinity if the trial was given up."""
    return math.inf if trial.stopped else trial.divergence


def _is_worse(trial: Trial, others: Sequence[Trial]) -> bool:
    """Whether ``trial`` diverges more so far than one of ``others``, which are finished, on the same utterances."""
    so_far = trial.divergences.sum()
    return any(so_far > other.divergences[trial.seen[other.seen]].sum() for other in others)


def _histograms(
    recogniser: Recogniser,
    parts: TwoParts,
    preparation: Preparation,
    readers: Mapping[str, Sequence[QuantizedModule]],
    tried: Mapping[str, Sequence[Option]],
) -> dict[str, list[Histogram]]:
    """Histogram of each activation of ``tried`` in the first part, as each of its options prepares it, by its name."""
    found: dict[str, list[Histogram]] = {name: [] for name in tried}
    with ExitStack() as stack:
        collectors = []
        for number in range(max(map(len, tried.values()))):
            options = {name: options[number] for name, options in tried.items() if number < len(options)}
            prepared = replace(
                preparation,
                channel_scales={name: option.scales for name, option in options.items() if option.scales is not None},
                carried={name: option.channels for name, option in options.items() if option.form == CARRIED},
            )
            modules = [module for name in options for module in readers[name]]
            collectors.append(stack.enter_context(collecting(recogniser.model, modules, prepared)))
        parts.count(collectors)
        for collector in collectors:
            for name, histogram in collector.histograms().items():
                found[name].append(histogram)
    return found
