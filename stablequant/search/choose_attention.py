"""Choose where attention multiplies queries by keys in INT8.

Their product, the scores, is a product of two activations. Both factors are outputs of modules, and they are quantized
like all other activations: symmetric, one static scale each. Layers whose scores cost nothing get INT8 scores: the
cheapest first, as long as all of them together cost little. What a layer costs is the divergence of the posteriors from
fp32 with only its queries and keys in INT8. Ranges are those of least squared error in one part of the calibration
audio, and the divergence is measured on another one.

The other product of attention, of probabilities and values, stays in floating point. Most probabilities are far below
the step of an INT8 number (benchmarks/whisper_attention.py).
"""

import logging
from itertools import groupby

import pandas as pd

from stablequant.progress import progress
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized_outputs
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.attention_table import COLUMNS
from stablequant.search.split import Split
from stablequant.search.two_parts import two_parts
from stablequant.workflow.procedure import Attention


def choose_attention(recogniser: Recogniser, split: Split, settings: Attention) -> pd.DataFrame:
    """One row with the columns `COLUMNS` for each layer whose modules have outputs that may be quantized.

    ``outputs`` are their names with spaces between. ``divergence`` is in nats per position, with only these outputs in
    INT8. ``int8`` is whether the layer gets them: those with the least divergence do whose sum is at most
    ``settings.divergence``. Two parts of ``split`` are used, see `Split.halves`.
    """
    named = [m for m in recogniser.modules if m.output_activation]
    rows: list[list[object]] = []
    with two_parts(recogniser, split, *split.halves(settings.audio_seconds)) as parts:
        outputs = [m.output_activation for m in named]
        with collecting(recogniser.model, named, Preparation(outputs=outputs)) as collectors:
            parts.count([collectors])
        histograms = collectors.histograms()
        ordered = sorted(named, key=lambda m: recogniser.layers.index(m.layer))
        layers = [(layer, list(modules)) for layer, modules in groupby(ordered, key=lambda m: m.layer)]
        for layer, modules in progress(layers, label="scores of attention"):
            parts.enter(layer)
            ranges = {m.output_activation: mse_range(histograms[m.output_activation]) for m in modules}
            with fake_quantized_outputs(recogniser.model, modules, ranges):
                divergence = parts.recognise(ranges).divergence
            logging.info("scores of %s in INT8: %.3g nats per position", layer, divergence)
            rows.append([layer, " ".join(ranges), divergence])
    table = pd.DataFrame(rows, columns=COLUMNS[:-1]).sort_values("divergence", kind="stable")
    table[COLUMNS[-1]] = table["divergence"].cumsum() <= settings.divergence
    return table.sort_index()
