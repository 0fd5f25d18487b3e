"""What each step before the paper's procedure is worth: ``python benchmarks/steps.py --out FILE``.

The demo with every layer in INT8, in simulation: the audio in one number or two, channels equalised or not, ranges
around 0 or around their own centres, and, where they have their own, 0 midway between two levels or on one; with all of
that, weights whose errors cancel in place of such as are rounded to the nearest level. There is no search: every range
is that of least squared error over the histogram clipped at the same percentile. ``divergence`` is
of the posteriors from fp32's, in nats per frame. Calibration and evaluation split are **synthesised** speech.
``--models`` takes other recognisers of the same audio besides (variants.py). Run it in the project's folder.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "benchmarks")]

from variants import RECOGNISERS, checkpoint_of

from stablequant.corpora.list_utterances import Utterance, list_utterances, table_of
from stablequant.corpora.manifests import read_manifest
from stablequant.quantization.collecting import collecting
from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.batches import loaded
from stablequant.recognisers.ctc.decoding import Recognition, divergence
from stablequant.recognisers.ctc.front_end import read_front_end
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.layers import quantized_modules
from stablequant.recognisers.wav2vec2.loading import load_recogniser
from stablequant.report.captions import with_interval
from stablequant.report.show import markdown_table
from stablequant.scoring.word_errors import WordErrors, degradation, degradation_interval
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.recognise_reference import Split, read_split
from stablequant.search.round_weights import round_weights
from stablequant.storage.files import read_table, write_table

CONFIG = yaml.safe_load((PROJECT / "config.yaml").read_text())
COLUMNS = [
    *("model", "split", "audio", "equalised", "centres", "zero", "weights"),
    *("wer", "degradation", "ci_low", "ci_high", "divergence"),
]
Posteriors = dict[str, np.ndarray]  # log posteriors by the utterance's path, (frames, classes)


class ZeroOnALevel(Range):
    """A range whose centre is a whole number of steps."""

    @property
    def centre(self) -> float:
        return float(np.float32(np.rint((self.low + self.high) / 2 / self.scale) * self.scale))


def read_demo(folder: Path, name: str) -> Split:
    """One split of the demo; its checkpoint lies in ``folder``."""
    front_end = read_front_end(folder / "checkpoint")
    utterances, _ = list_utterances(read_manifest(PROJECT / f"tsv/demo-{name}.tsv"), front_end)
    write_table(folder / f"{name}.tsv", table_of(utterances, Utterance))
    return read_split(folder / "checkpoint", folder / f"{name}.tsv", CONFIG["batch_mb"], CONFIG["seed"])


def recognise(stages: Stages, split: Split, label: str) -> tuple[WordErrors, Posteriors]:
    recognition = Recognition(split.front_end.vocabulary)
    posteriors: Posteriors = {}
    for batch, audio in loaded(split.batches, split.front_end, label):
        frames = stages.frames([u.samples for u in batch])
        rows = frames.rows(torch.log_softmax(stages.logits(stages.enter(audio), 0, frames), dim=-1))
        recognition.add(batch, rows)
        posteriors |= {u.path: row for u, row in zip(batch, rows, strict=True)}
    return recognition.score(split.utterances), posteriors


def mean_divergence(reference: Posteriors, found: Posteriors) -> float:
    """Nats per frame."""
    total = sum(divergence(reference[path], row) for path, row in found.items())
    return total / sum(len(row) for row in found.values())


def measure(splits: Mapping[str, Split], stages: Stages, percentile: float) -> list[dict]:
    """One row per split and combination."""
    modules = quantized_modules(stages.model.config.to_dict())
    fp32 = {name: recognise(stages, split, f"{name}, fp32") for name, split in splits.items()}
    rows = [{"split": name, "zero": "fp32", "wer": errors.wer, "degradation": 0} for name, (errors, _) in fp32.items()]
    settings = CONFIG["equalisation"]
    found = equalise_channels(
        *(stages, modules, splits["calibration"]),
        *(settings["exponent"], settings["percentile"], settings["audio_seconds"]),
    )
    for numbers, equalised, centres in product([1, 2], [False, True], [False, True]):
        scales = found if equalised else {}
        with collecting(stages.model, modules, scales, recentre=centres, split_audio=numbers == 2) as collectors:
            recognise(stages, splits["calibration"], "histograms")
        ranges = {name: mse_range(histogram, percentile) for name, histogram in collectors.histograms().items()}
        kinds = [("between levels", Range), ("a level", ZeroOnALevel)] if centres else [("a level", Range)]
        steps = [(*kind, "nearest", fake_quantized_weights(stages.model, modules, scales)) for kind in kinds]
        if numbers == 2 and equalised and centres:
            rounded = round_weights(stages, modules, splits["calibration"], scales, CONFIG["rounding"]["audio_seconds"])
            cancelling = fake_quantized_weights(stages.model, modules, scales, rounded)
            steps.insert(1, (*kinds[0], "errors cancel", cancelling))
        for (zero, kind, rounding, weights), (name, split) in product(steps, splits.items()):
            placed = {activation: kind(r.low, r.high, r.split) for activation, r in ranges.items()}
            with fake_quantized(stages.model, modules, placed, scales, weights):
                errors, posteriors = recognise(stages, split, f"{name}, zero {zero}")
            reference, expected = fp32[name]
            low, high = degradation_interval(errors, reference, CONFIG["seed"])
            row = {"split": name, "audio": numbers, "equalised": equalised, "centres": "own" if centres else "0"}
            row |= {"zero": zero, "weights": rounding}
            row |= {"wer": errors.wer, "degradation": degradation(errors, reference)}
            row |= {"ci_low": low, "ci_high": high, "divergence": mean_divergence(expected, posteriors)}
            rows.append(row)
    return rows


def markdown(table: pd.DataFrame) -> str:
    """Points of WER lost by combination of steps: the first model on both splits, others on the evaluation split."""
    steps = ["audio", "equalised", "centres", "zero", "weights"]
    numbers, shares, centres = {1: "one number", 2: "two"}, {False: "no", True: "yes"}, {"0": "0", "own": "its own"}
    first, *others = table["model"].unique()
    shown = {"calibration split": (first, "calibration"), "evaluation split": (first, "evaluation")}
    shown |= {f"{other}, evaluation split": (other, "evaluation") for other in others}
    ends = dict.fromkeys([first, *others[-1:]])
    rows = []
    for (audio, equalised, centre, zero, rounding), own in table.dropna(subset="audio").groupby(steps, sort=False):
        found = own.set_index(["model", "split"])
        cells = [numbers[audio], shares[equalised], centres[centre], zero, rounding]
        cells += [with_interval(found.loc[place]) for place in shown.values()]
        rows.append([*cells, *(f"{found.loc[(model, 'evaluation'), 'divergence']:.5f}" for model in ends)])
    header = ["audio in", "channels equalised", "centre", "0 is", "weights", *shown]
    header += [f"divergence, {model}" for model in ends]
    return markdown_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--percentile", type=float, default=CONFIG["uniform_percentile"], help="at which all are clipped"
    )
    parser.add_argument("--models", nargs="+", choices=RECOGNISERS, default=["demo"], help="to measure (demo)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write a TSV")
    parser.add_argument("--markdown", type=Path, help="measure nothing, print this TSV as the documents show it")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(markdown(read_table(arguments.markdown)))
        return
    rows = []
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            import_checkpoint(str(checkpoint_of(model)), folder / "checkpoint")
            splits = {name: read_demo(folder, name) for name in ("calibration", "evaluation")}
            stages = Stages(load_recogniser(folder / "checkpoint", threads=arguments.threads))
            rows += [{"model": model, **row} for row in measure(splits, stages, arguments.percentile)]
        table = pd.DataFrame(rows, columns=COLUMNS)
        print(table.round(2).to_string(index=False))
        if arguments.out:
            write_table(arguments.out, table)


if __name__ == "__main__":
    main()
