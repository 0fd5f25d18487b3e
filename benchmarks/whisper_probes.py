"""What a probe of each layer of a Whisper costs, beside an encoder pass of fp32.

    .venv/bin/python benchmarks/whisper_probes.py --checkpoint DIR --calibration DIR --out benchmarks/whisper_probes.tsv

A probe is what the search does with one layer quantized: it starts at the hidden values that are kept before the layer
(here, before every one), runs the rest of the encoder, passes fp32's tokens through the decoder at once, and decodes
only the utterances in which another token is most likely, from there on: ``decoded_anew``. ``seconds`` are on the
clock, and ``encoder_passes`` the same as a share of an encoder pass over the same audio. ``products`` is such a share,
too, of multiply-accumulates without attention scores. ``free_seconds`` is what the same layer costs when all utterances
are decoded token by token, and the texts are checked to be the same. Ranges are maxima of fp32, and no massive channel
is treated, so that more is decoded anew than in a search. The last row is the mean.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import project  # noqa: F401 - it makes the package importable
import pandas as pd
import torch
from librispeech import listed, part_of
from tables import command_line, write_out

from stablequant.corpora.utterance import Utterance
from stablequant.quantization.collecting import collecting
from stablequant.quantization.int8 import Range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.recogniser import Context, Recogniser, State
from stablequant.report.show import markdown_table
from stablequant.search.costs import layer_costs

COLUMNS = ["layer", "seconds", "encoder_passes", "products", "decoded_anew", "free_seconds"]


def main() -> None:
    parser = command_line(__doc__, markdown, threads=True)
    parser.add_argument("--checkpoint", required=True, help="a Hugging Face folder or hub id of a Whisper")
    parser.add_argument("--calibration", type=Path, required=True, help="a folder laid out as LibriSpeech")
    parser.add_argument("--utterances", type=int, default=24, help="of all speakers alike")
    parser.add_argument("--rows", type=int, default=8, help="utterances recognised at once")
    parser.add_argument("--layers", nargs="+", help="probe these only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        import_checkpoint(arguments.checkpoint, Path(folder) / "checkpoint")
        recogniser = load_recogniser(Path(folder) / "checkpoint", threads=arguments.threads)
        part = part_of(arguments.calibration, Path(folder) / "speech", arguments.utterances)
        chosen = listed(part, recogniser.front_end, Path(folder) / "calibration.tsv")
        table = measure(recogniser, chosen, arguments)
    print(table.to_string(index=False))
    write_out(arguments.out, table)


def encoder_seconds(recogniser: Recogniser, kept: Sequence[tuple[Context, list[State]]]) -> float:
    """Seconds of the encoder in fp32, for all batches."""
    start = time.perf_counter()
    for context, states in kept:
        recogniser.run(states[0], 0, recogniser.resumable, context)
    return time.perf_counter() - start


def measure(recogniser: Recogniser, chosen: list[Utterance], arguments: argparse.Namespace) -> pd.DataFrame:
    batches = [chosen[first : first + arguments.rows] for first in range(0, len(chosen), arguments.rows)]
    layers = arguments.layers or recogniser.layers
    costs = layer_costs(recogniser)
    kept, guides, free = [], [], 0.0
    with collecting(recogniser.model, recogniser.modules) as collectors:
        for batch in batches:
            context = recogniser.context([u.samples for u in batch])
            states = [recogniser.load(batch)]
            for layer in range(recogniser.resumable):
                states.append(recogniser.run(states[-1], layer, layer + 1, context))
            guides.append([r.guide for r in recogniser.recognise(states[-1], recogniser.resumable, context)])
            kept.append((context, states))
        histograms = collectors.histograms()
    for context, states in kept:
        start = time.perf_counter()
        recogniser.recognise(states[-1], recogniser.resumable, context)
        free += time.perf_counter() - start
    print(f"fp32: decoding token by token {free:.1f} s, {len(chosen)} utterances", flush=True)
    ranges = {name: Range.symmetric(histogram.edges[-1]) for name, histogram in histograms.items()}
    total = sum(context.samples for context, _ in kept)
    encoder_macs = total * sum(costs[layer].macs for layer in recogniser.layers[: recogniser.resumable])
    rows: list[list] = []
    for layer in layers:
        modules = [m for m in recogniser.modules if m.layer == layer]
        weights = fake_quantized_weights(recogniser.model, modules, {}, {})
        first = min(recogniser.layers.index(layer), recogniser.resumable)
        encoder = encoder_seconds(recogniser, kept)  # each time, as the machine may drift
        recogniser.samples.clear()
        along, freely, anew = 0.0, 0.0, 0
        with fake_quantized(recogniser.model, modules, ranges, {}, weights):
            for (context, states), guide in zip(kept, guides, strict=True):
                start = time.perf_counter()
                found = recogniser.recognise(states[first], first, context, guide)
                along += time.perf_counter() - start
                counted = recogniser.samples.copy()
                start = time.perf_counter()
                full = recogniser.recognise(states[first], first, context)
                freely += time.perf_counter() - start
                recogniser.samples = counted
                assert [r.text for r in found] == [r.text for r in full], f"{layer}: other texts than full decoding's"
                anew += sum(list(r.guide) != list(g) for r, g in zip(full, guide, strict=True))
        macs = sum(count * costs[name].macs for name, count in recogniser.samples.items())
        rows.append([layer, along, along / encoder, macs / encoder_macs, anew, freely])
        print(*rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=COLUMNS)
    mean = table.drop(columns="layer").mean().to_dict()
    return pd.concat([table, pd.DataFrame([{"layer": "mean", **mean}])], ignore_index=True)


def markdown(table: pd.DataFrame) -> str:
    """The table as the documents show it."""
    header = ["layer", "seconds", "of an encoder pass", "products, of its", "decoded anew", "seconds, all decoded"]
    rows = [
        [
            *(row.layer, f"{row.seconds:.1f}", f"{row.encoder_passes:.2f}", f"{row.products:.2f}"),
            *(f"{row.decoded_anew:.0f}", f"{row.free_seconds:.1f}"),
        ]
        for row in table.itertuples()
    ]
    return markdown_table(header, rows)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
