"""What quantizing one layer alone costs."""

from dataclasses import dataclass

import torch

from stablequant.fakequant import fake_quantized
from stablequant.layers import QuantizedModule
from stablequant.metrics import degradation, degradation_interval
from stablequant.prefix import convolution_prefix
from stablequant.recogniser import torch_infer
from stablequant.recognition import Recognition, audio_batches, divergence
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
    candidates: list[dict[str, float]],
    calibration: Calibration,
    label: str,
) -> list[Probe]:
    """Recognise the calibration set with the ``modules`` of one layer quantized and all else in fp32.

    One result for each of ``candidates``, which are ranges by activation name.
    """
    infer = torch_infer(model)
    recognitions = [Recognition(calibration.front_end.vocabulary) for _ in candidates]
    ranges: dict[str, float] = {}
    batches = audio_batches(calibration.utterances, calibration.front_end, calibration.batch_seconds, label)
    with fake_quantized(model, modules, ranges), convolution_prefix(model, modules[0].layer) as prefix:
        for batch, audio in batches:
            prefix.forget()
            for candidate, recognition in zip(candidates, recognitions, strict=True):
                ranges.update(candidate)
                recognition.add(batch, infer(audio))
    return [_measure(recognition, calibration) for recognition in recognitions]


def _measure(recognition: Recognition, calibration: Calibration) -> Probe:
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
