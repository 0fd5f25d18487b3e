"""What quantizing one layer alone costs."""

from dataclasses import dataclass

import torch

from stablequant.fakequant import fake_quantized
from stablequant.layers import QuantizedModule
from stablequant.metrics import degradation, degradation_interval
from stablequant.recogniser import torch_infer
from stablequant.recognition import divergence, recognise
from stablequant.reference import Calibration


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
    ranges: dict[str, float],
    calibration: Calibration,
    label: str,
) -> Probe:
    """Recognise the calibration set with ``modules`` quantized to ``ranges`` (by activation), all else in fp32."""
    with fake_quantized(model, modules, ranges):
        recognition = recognise(
            torch_infer(model), calibration.utterances, calibration.front_end, calibration.batch_seconds, label
        )
    measured = recognition.score(calibration.utterances)
    reference = calibration.reference
    low, high = degradation_interval(measured, reference.errors, calibration.seed)
    return Probe(
        wer=measured.wer,
        degradation=degradation(measured, reference.errors),
        ci_low=low,
        ci_high=high,
        divergence=divergence(reference.log_posteriors, recognition.log_posteriors),
        errors=measured.errors.tolist(),
    )
