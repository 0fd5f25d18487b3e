"""Ideas that might have improved the procedure: ``python benchmarks/ideas.py --out FILE``.

Each is tried on a finished run (``results/{model}``) with all layers in INT8, in simulation, on top of what the run
chose, and measured on both splits, in points of WER and, finer, in the divergence of the posteriors from fp32's:

- ``without the common cut-off``: layers that no search has clipped keep the whole range, as before the run's check of
  all layers together; the other way round, this is what that check is worth;
- ``finer grid``: cut-offs halfway between that of the run and its neighbours, for each searched layer and for the rest;
- ``in order``: a cut-off for every layer by divergence, one after the other, those before it already quantized;
- ``per tensor``: the same for every activation by itself;
- ``nearest``: every weight rounded to the nearest level, which shows what rounding with cancelling errors is worth;
- ``weights``: the same, with scales of weights by least squared error instead of maxima;
- ``biases``: what quantization changes in the mean output of each module is taken off its bias, one module after the
  other, those that read the same together.

``gained`` are the points of WER that an idea wins against what the run chose, with the interval of a paired bootstrap.
``passes`` are the audio that choosing took, in units of the calibration set. All speech is **synthesised**. Run it in
the project's folder after the workflow.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from project import CONFIG, PROCEDURE, PROJECT
from simulated import measure_fp32, recognise_int8
from tables import OTHERS_KEPT, command_line, write_out
from tqdm import tqdm

from stablequant.quantization.channel_scales import load_channel_scales
from stablequant.quantization.collecting import Preparation
from stablequant.quantization.equalised import weight_of
from stablequant.quantization.histograms import UNCLIPPED, Histogram
from stablequant.quantization.int8 import QMAX, scale_of
from stablequant.quantization.int8_weights import RoundedFile
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import channel_axis, operation_of
from stablequant.recognisers.recogniser import Recogniser
from stablequant.report.captions import with_interval
from stablequant.report.show import markdown_table
from stablequant.scoring.intervals import degradation_interval
from stablequant.scoring.word_errors import WordErrors, degradation
from stablequant.search.attention_table import outputs_in_int8
from stablequant.search.combination import Choice, Combination
from stablequant.search.gather_percentiles import best_percentiles
from stablequant.search.split import loaded, read_split
from stablequant.search.trials import Calibration, Outcome
from stablequant.storage.files import read_json, read_table

COLUMNS = [
    *("model", "idea", "split", "passes", "wer", "degradation", "ci_low", "ci_high", "ci_over"),
    *("gained", "gained_low", "gained_high", "divergence"),
]
GRID = sorted({UNCLIPPED, *CONFIG["percentiles"]}, reverse=True)  # of cut-offs, in percent
SHRINKING = np.linspace(0.6, 1, 41)  # of a weight's largest magnitude, tried as its range
IDEAS = (
    "as the run chose",
    "without the common cut-off",
    "finer grid",
    "in order",
    "per tensor",
    "nearest",
    "weights",
    "biases",
)
SPLITS = ("calibration", "evaluation")


class ByTensor(Combination):
    """Layers quantized together, with cut-offs by activation where the choice names one, else by layer."""

    def percentile_of(self, choice: Choice, module: QuantizedModule) -> float:
        return choice.percentiles.get(module.activation, super().percentile_of(choice, module))


@dataclass(frozen=True)
class Subject:
    """A finished run: what it chose, and both splits with what fp32 makes of them."""

    recogniser: Recogniser
    histograms: dict[str, Histogram]
    splits: dict[str, Calibration]
    choice: Choice
    searched: Choice  # what the searches of single layers found

    @property
    def model(self) -> torch.nn.Module:
        return self.recogniser.model

    @property
    def modules(self) -> Sequence[QuantizedModule]:
        return self.recogniser.modules

    @property
    def activations(self) -> list[str]:
        """Each once, in the order in which audio passes them."""
        return list(dict.fromkeys(m.activation for m in self.modules))

    @property
    def channel_scales(self) -> Mapping[str, np.ndarray]:
        return self.splits["calibration"].channel_scales

    def combination(self, split: str = "calibration") -> ByTensor:
        return ByTensor(self.recogniser, self.modules, self.histograms, self.splits[split])


def load(results: Path, folder: Path, threads: int) -> Subject:
    """The run in ``results``; fp32 recognises its splits anew, its files go to ``folder``."""
    recogniser = load_recogniser(results / "checkpoint", threads=threads)
    scales = load_channel_scales(results / "channel_scales.safetensors")
    rounded = dict(RoundedFile(results / "weights.safetensors"))
    carried = read_json(results / "carried_channels.json")
    attention = results / "attention.tsv"
    outputs = outputs_in_int8(read_table(attention)) if attention.is_file() else ()
    preparation = Preparation(scales, PROCEDURE.recentre, PROCEDURE.split_audio, carried, outputs)
    splits, histograms = {}, {}
    for name in SPLITS:
        (folder / name).mkdir()
        split = read_split(recogniser, results / f"utterances/{name}.tsv", CONFIG["batch_mb"], CONFIG["seed"])
        splits[name], histograms[name] = measure_fp32(recogniser, split, folder / name, preparation, rounded)
    chosen = read_json(results / "combination.json")
    choice = Choice(chosen["percentiles"], frozenset(chosen["float_layers"]))
    searched = Choice(best_percentiles(read_table(results / "percentiles.tsv")), frozenset())
    return Subject(recogniser, histograms["calibration"], splits, choice, searched)


def finer_grid(subject: Subject, audio_seconds: float) -> tuple[Choice, int]:
    """Half a step to either side of each searched layer's cut-off, and of what the others share."""
    halves = [100 - np.sqrt((100 - a) * (100 - b)) if a < UNCLIPPED else (a + b) / 2 for a, b in pairwise(GRID)]
    choice, tries = subject.choice, 0
    searched = list(subject.searched.percentiles)
    others = [layer for layer in subject.recogniser.layers if layer not in searched]
    for group in [*([layer] for layer in searched), others]:
        percentile = choice.percentiles.get(group[0], UNCLIPPED)
        place = GRID.index(percentile)
        near = [percentile, *halves[max(place - 1, 0) : place + 1]]
        choice = best_of(subject, choice, group, near, audio_seconds)
        tries += len(near)
    return choice, tries


def one_by_one(subject: Subject, names: Sequence[str], audio_seconds: float) -> tuple[Choice, int]:
    """A cut-off for each of ``names``, layers or activations, in their order; those to come are as the run chose."""
    choice = subject.choice
    for name in tqdm(names, desc="one by one"):
        choice = best_of(subject, choice, [name], GRID, audio_seconds)
    return choice, len(names) * len(GRID)


def best_of(
    subject: Subject, choice: Choice, names: Sequence[str], percentiles: Sequence[float], audio_seconds: float
) -> Choice:
    """``choice`` with ``names``, layers or activations, clipped where the posteriors diverge least from fp32's."""
    layer_of = {m.activation: m.layer for m in subject.modules} | {m.layer: m.layer for m in subject.modules}
    layers = [layer_of[name] for name in names]
    variants = [choice.clipped(names, percentile) for percentile in percentiles]
    outcomes = subject.combination().vary(choice, [(layers, variant) for variant in variants], audio_seconds)
    return variants[min(range(len(outcomes)), key=lambda i: outcomes[i].divergence)]


def weights_of_least_squared_error(subject: Subject) -> dict[str, torch.Tensor]:
    """Fake-quantized weights whose scale, by output channel, is that of least squared error of `SHRINKING`."""
    weights = {}
    for module in subject.modules:
        operation = operation_of(subject.model, module)
        weight = weight_of(operation, subject.channel_scales.get(module.activation))
        rows = weight.reshape(len(weight), -1)
        best, least = rows.copy(), np.full(len(rows), np.inf)
        for share in SHRINKING:
            scale = scale_of(np.abs(rows).max(axis=1) * share)[:, None]
            candidate = np.clip(np.rint(rows / scale), -QMAX, QMAX) * scale
            error = ((candidate - rows) ** 2).sum(axis=1)
            better = error < least
            best[better], least[better] = candidate[better], error[better]
        weights[module.module] = torch.from_numpy(best.reshape(weight.shape).astype(np.float32))
    return weights


@contextmanager
def mean_outputs(subject: Subject, modules: Sequence[QuantizedModule]) -> Iterator[dict[str, torch.Tensor]]:
    """Mean by channel of what ``modules`` give inside the block, filled at its end."""
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    means: dict[str, torch.Tensor] = {}
    with ExitStack() as undo:
        for module in modules:
            operation = operation_of(subject.model, module)
            axis = channel_axis(operation)

            def hook(_operation, _inputs, output, name: str = module.module, axis: int = axis) -> None:
                channels = output.movedim(1 + axis, -1).flatten(0, -2).double()
                sums[name] = sums.get(name, 0) + channels.sum(dim=0)
                counts[name] = counts.get(name, 0) + len(channels)

            undo.callback(operation.register_forward_hook(hook).remove)
        yield means
    means |= {name: (total / counts[name]).float() for name, total in sums.items()}


def hear(subject: Subject, audio_seconds: float) -> None:
    """Recognise a part of the calibration set for what hooks make of it."""
    split = subject.splits["calibration"].split
    for _, context, state in loaded(subject.recogniser, split.sample(audio_seconds), "means"):
        subject.recogniser.recognise(state, 0, context)


@contextmanager
def corrected(subject: Subject, biases: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Inside the block ``biases`` are added to those of the modules they name."""
    with ExitStack() as undo:
        for module in subject.modules:
            if module.module in biases:
                operation = operation_of(subject.model, module)
                before = operation.bias
                undo.callback(setattr, operation, "bias", before)
                added = biases[module.module] if before is None else before.data + biases[module.module]
                operation.bias = torch.nn.Parameter(added, requires_grad=False)
        yield


def bias_correction(subject: Subject, audio_seconds: float) -> tuple[dict[str, torch.Tensor], int]:
    """What to add to each module's bias, those before it already corrected."""
    with mean_outputs(subject, subject.modules) as expected:
        hear(subject, audio_seconds)
    ranges = subject.combination().ranges_of(subject.choice)
    weights = subject.splits["calibration"].weights(subject.model, subject.modules)
    biases: dict[str, torch.Tensor] = {}
    for activation in tqdm(subject.activations, desc="biases"):
        own = [m for m in subject.modules if m.activation == activation]
        with (
            fake_quantized(subject.model, subject.modules, ranges, subject.channel_scales, weights),
            corrected(subject, biases),
            mean_outputs(subject, own) as found,
        ):
            hear(subject, audio_seconds)
        biases |= {name: expected[name] - found[name] for name in found}
    return biases, 1 + len(subject.activations)


def recognise(
    subject: Subject,
    split: str,
    choice: Choice,
    weights: Mapping[str, torch.Tensor] | None = None,
    biases: Mapping[str, torch.Tensor] | None = None,
) -> Outcome:
    """One split with everything quantized."""
    ranges, calibration = subject.combination(split).ranges_of(choice), subject.splits[split]
    levels = weights or calibration.weights(subject.model, subject.modules)
    with corrected(subject, biases or {}):
        return recognise_int8(subject.recogniser, calibration, ranges, levels, split)


def try_ideas(subject: Subject, chosen_ideas: Sequence[str], audio_seconds: float) -> Iterator[dict]:
    """One row per idea and split."""
    layers = list(subject.recogniser.layers)
    as_chosen = (subject.choice, None, None, 0)
    split = subject.splits["calibration"].split
    chosen_on = sum(u.samples for batch in split.other_sample(audio_seconds) for u in batch)
    heard = chosen_on / sum(u.samples for u in split.utterances)

    def chosen(found: tuple[Choice, int]) -> tuple:
        return found[0], None, None, found[1]

    def with_biases() -> tuple:
        biases, passes = bias_correction(subject, audio_seconds)
        return subject.choice, None, biases, passes

    ideas = {
        IDEAS[0]: lambda: as_chosen,
        "without the common cut-off": lambda: (subject.searched, None, None, 0),
        "finer grid": lambda: chosen(finer_grid(subject, audio_seconds)),
        "in order": lambda: chosen(one_by_one(subject, layers, audio_seconds)),
        "per tensor": lambda: chosen(one_by_one(subject, subject.activations, audio_seconds)),
        "nearest": lambda: (
            subject.choice,
            fake_quantized_weights(subject.model, subject.modules, subject.channel_scales),
            None,
            0,
        ),
        "weights": lambda: (subject.choice, weights_of_least_squared_error(subject), None, 0),
        "biases": with_biases,
    }
    as_run: dict[str, WordErrors] = {}
    for idea in chosen_ideas:
        choice, weights, biases, tries = ideas[idea]()
        for split, calibration in subject.splits.items():
            measured = recognise(subject, split, choice, weights, biases)
            fp32 = calibration.reference.errors
            errors = WordErrors(np.array(measured.errors), fp32.words, fp32.speakers)
            run = as_run.setdefault(split, errors)  # which comes first
            low, high = degradation_interval(run, errors, CONFIG["seed"])
            gained = {"gained": degradation(run, errors), "gained_low": low, "gained_high": high}
            yield {"idea": idea, "split": split, "passes": tries * heard, **vars(measured), **gained}


def markdown(table: pd.DataFrame) -> str:
    """A row per idea, columns per recogniser, all of the split that chose nothing."""
    judged = table[table["split"] == "evaluation"]
    models = list(judged["model"].unique())
    rows = []
    for idea, own in judged.groupby("idea", sort=False):
        found = own.set_index("model")
        cells = [f"{own['passes'].iloc[0]:.0f}"]
        for model in models:
            if model not in found.index:
                cells += [""] * 3
                continue
            row = found.loc[model]
            cells += [with_interval(row), with_interval(row, "gained"), f"{row['divergence']:.5f}"]
        rows.append([idea, *cells])
    columns = ("points of WER lost", "points gained", "divergence")
    return markdown_table(["idea", "passes", *(f"{c}, {m}" for m in models for c in columns)], rows)


def main() -> None:
    parser = command_line(__doc__, markdown, out=OTHERS_KEPT, threads=True)
    parser.add_argument("--models", nargs="+", default=["demo"], help="finished runs in results/ (demo)")
    parser.add_argument("--ideas", nargs="+", choices=IDEAS[1:], default=IDEAS[1:], help="to try (all)")
    parser.add_argument("--audio-seconds", type=float, default=60, help="of calibration audio to choose on (60)")
    arguments = parser.parse_args()
    rows: list[dict] = []
    for model in arguments.models:
        with TemporaryDirectory() as temporary, torch.inference_mode():
            subject = load(PROJECT / "results" / model, Path(temporary), arguments.threads)
            for row in try_ideas(subject, [IDEAS[0], *arguments.ideas], arguments.audio_seconds):
                rows.append({"model": model, **row})
                print(pd.DataFrame([rows[-1]], columns=COLUMNS).to_string(index=False, header=False), flush=True)
                write_out(arguments.out, pd.DataFrame(rows, columns=COLUMNS), keep_others=True)
    print(pd.DataFrame(rows, columns=COLUMNS).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
