"""The search on a CUDA device finds what it finds on the CPU. Skipped where there is none."""

import copy

import numpy as np
import pytest
import torch
from calibrating import calibrate
from recognising import batches_of, split_in

from stablequant.quantization.simulation import fake_quantize_activation
from stablequant.search.probe_layer import probe_layers
from stablequant.search.split import context_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
LAYERS = ["cnn02", "transformer05"]


def test_logits_are_within_a_thousandth(demo, demo_utterances):
    batch = batches_of(demo, demo_utterances)[0]
    found = []
    for model in (demo.model, copy.deepcopy(demo.model).cuda()):
        recogniser = demo.recogniser(model)
        found.append(recogniser.logits(recogniser.load(batch), 0, context_of(recogniser, batch)).cpu().numpy())
    assert np.abs(found[0] - found[1]).max() < 1e-3 * found[0].std()


def test_the_fused_kernel_quantizes_as_the_cpu_does():
    values = torch.randn(100_000) * 3
    for scale in (0.01, 0.0371):
        found = fake_quantize_activation(values.cuda(), scale).cpu()
        steps = (found - fake_quantize_activation(values, scale)).abs() / scale
        assert (steps > 0.5).float().mean() < 1e-4, "more than the odd tie rounds otherwise"


def test_probes_lose_the_same_words_but_for_the_odd_near_tie(demo, demo_utterances, tmp_path):
    split = split_in(demo, demo_utterances, 1e9)
    outcomes = []
    for name, model in (("cpu", demo.model), ("cuda", copy.deepcopy(demo.model).cuda())):
        (tmp_path / name).mkdir()
        c = calibrate(demo.recogniser(model), split, tmp_path / name)
        outcomes.append(probe_layers(c.recogniser, c.modules, LAYERS, c.largest, c.calibration, 0.25))
    for cpu, cuda in zip(*outcomes, strict=True):
        assert abs(cpu.wer - cuda.wer) < 1
        assert cuda.divergence == pytest.approx(cpu.divergence, rel=0.05)
