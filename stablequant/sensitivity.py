"""What quantizing one layer alone costs, and which layers it costs too much."""

from dataclasses import dataclass

import pandas as pd
import torch

from stablequant.fakequant import fake_quantized
from stablequant.layers import QuantizedModule
from stablequant.metrics import degradation, degradation_interval
from stablequant.recogniser import torch_infer
from stablequant.recognition import FrontEnd, divergence, recognise
from stablequant.reference import Reference
from stablequant.utterances import Utterance


@dataclass(frozen=True)
class Probe:
    """The calibration set recognised with some modules quantized.

    Attributes
    ----------
    wer: word error rate in percent
    degradation, ci_low, ci_high: points of WER lost against fp32, with its 95 % interval
    divergence: of the CTC posteriors from fp32's, nats per frame
    errors: word errors of each utterance
    """

    wer: float
    degradation: float
    ci_low: float
    ci_high: float
    divergence: float
    errors: list[int]


def probe(
    model: torch.nn.Module,
    modules: list[QuantizedModule],
    amaxes: dict[str, float],
    reference: Reference,
    utterances: list[Utterance],
    front_end: FrontEnd,
    batch_seconds: float,
    seed: int,
    label: str,
) -> Probe:
    """Recognise ``utterances`` with ``modules`` quantized to the ranges ``amaxes`` and everything else in fp32."""
    with fake_quantized(model, modules, amaxes):
        recognition = recognise(torch_infer(model), utterances, front_end, batch_seconds, label)
    measured = recognition.score(utterances)
    low, high = degradation_interval(measured, reference.errors, seed)
    return Probe(
        wer=measured.wer,
        degradation=degradation(measured, reference.errors),
        ci_low=low,
        ci_high=high,
        divergence=divergence(reference.log_posteriors, recognition.log_posteriors),
        errors=measured.errors.tolist(),
    )


def select_layers(probes: list[dict], threshold: float) -> pd.DataFrame:
    """One row per probed layer; ``selected`` where the degradation exceeds ``threshold`` points.

    ``sure`` is false where the degradation's interval holds the threshold, so that other audio might decide otherwise.
    """
    table = pd.DataFrame(probes)[["layer", "kind", "wer", "degradation", "ci_low", "ci_high", "divergence"]]
    table["selected"] = table["degradation"] > threshold
    table["sure"] = (table["ci_low"] > threshold) | (table["ci_high"] <= threshold)
    return table
