"""What each step before the paper's procedure is worth: ``python benchmarks/steps.py --out FILE``.

The demo with every layer in INT8, in simulation: the audio in one number or two, channels equalised or not, ranges
around 0 or around their own centres, and, where they have their own, 0 midway between two levels or on one; with all of
that, weights whose errors cancel in place of such as are rounded to the nearest level. There is no search: every range
is that of least squared error over the histogram clipped at the same percentile. ``divergence`` is
of the posteriors from fp32's, in nats per frame. Calibration and evaluation split are **synthesised** speech.
``--models`` takes other recognisers of the same audio besides (variants.py). Run it in the project's folder.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
from project import CONFIG, PROCEDURE
from simulated import collect, measure_fp32, recognise_int8
from tables import command_line, write_out
from utterance_tables import DEMO, write_utterances
from variants import RECOGNISERS, checkpoint_of

from stablequant.quantization.collecting import Preparation
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized_weights
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.recogniser import Recogniser
from stablequant.report.captions import with_interval
from stablequant.report.show import markdown_table
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.round_weights import round_weights
from stablequant.search.split import Split, read_split

COLUMNS = [
    *("model", "split", "audio", "equalised", "centres", "zero", "weights"),
    *("wer", "degradation", "ci_low", "ci_high", "ci_over", "divergence"),
]


def measure(recogniser: Recogniser, splits: Mapping[str, Split], folder: Path, percentile: float) -> list[dict]:
    """One row per split and combination; what fp32 recognises goes to ``folder``."""
    modules, fp32 = recogniser.modules, {}
    for name, split in splits.items():
        (folder / name).mkdir()
        fp32[name], _ = measure_fp32(recogniser, split, folder / name, Preparation())
    rows = [
        {"split": name, "zero": "fp32", "wer": calibration.reference.errors.wer, "degradation": 0}
        for name, calibration in fp32.items()
    ]
    step = PROCEDURE.equalisation
    found = equalise_channels(recogniser, splits["calibration"], step.exponent, step.percentile, step.audio_seconds)
    for numbers, equalised, centres in product([1, 2], [False, True], [False, True]):
        scales = found if equalised else {}
        histograms = collect(recogniser, splits["calibration"], Preparation(scales, centres, numbers == 2))
        ranges = {name: mse_range(histogram, percentile) for name, histogram in histograms.items()}
        kinds = [("between levels", False), ("a level", True)] if centres else [("a level", True)]
        steps = [(*kind, "nearest", fake_quantized_weights(recogniser.model, modules, scales)) for kind in kinds]
        if numbers == 2 and equalised and centres:
            rounded = round_weights(recogniser, splits["calibration"], scales, PROCEDURE.rounding.audio_seconds)
            cancelling = fake_quantized_weights(recogniser.model, modules, scales, rounded)
            steps.insert(1, (*kinds[0], "errors cancel", cancelling))
        for (zero, level, rounding, weights), (name, calibration) in product(steps, fp32.items()):
            placed = {activation: replace(r, zero_level=level) for activation, r in ranges.items()}
            scaled = replace(calibration, channel_scales=scales)
            outcome = recognise_int8(recogniser, scaled, placed, weights, f"{name}, zero {zero}")
            row = {"split": name, "audio": numbers, "equalised": equalised, "centres": "own" if centres else "0"}
            rows.append({**row, "zero": zero, "weights": rounding, **vars(outcome)})
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
    parser = command_line(__doc__, markdown, threads=True)
    parser.add_argument(
        "--percentile", type=float, default=CONFIG["uniform_percentile"], help="at which all are clipped"
    )
    parser.add_argument("--models", nargs="+", choices=RECOGNISERS, default=["demo"], help="to measure (demo)")
    arguments = parser.parse_args()
    rows = []
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            import_checkpoint(str(checkpoint_of(model)), folder / "checkpoint")
            recogniser = load_recogniser(folder / "checkpoint", threads=arguments.threads)
            splits = {}
            for name, speech in DEMO.items():
                write_utterances(speech, folder / "checkpoint", folder / f"{name}.tsv")
                splits[name] = read_split(recogniser, folder / f"{name}.tsv", CONFIG["batch_mb"], CONFIG["seed"])
            rows += [{"model": model, **row} for row in measure(recogniser, splits, folder, arguments.percentile)]
        table = pd.DataFrame(rows, columns=COLUMNS)
        print(table.round(2).to_string(index=False))
        write_out(arguments.out, table)


if __name__ == "__main__":
    main()
