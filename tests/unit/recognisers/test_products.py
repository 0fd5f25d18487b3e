"""The layers compute what torch's compute, whichever way is faster here."""

import pytest
import torch
from torch import nn

from stablequant.quantization.int8 import Range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers import products
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import CausalConv1d
from stablequant.recognisers.products import ChannelsLastConv1d, OneDnnLinear, reduce_weights, speed_up

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


@pytest.fixture(params=[True, False], ids=["oneDNN", "BLAS"])
def onednn(request, monkeypatch) -> bool:
    monkeypatch.setattr(products, "onednn_gain", lambda threads: 2.0 if request.param else 1.0)
    monkeypatch.setattr(products.platform, "machine", lambda: "x86_64")
    return request.param


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Sums of a few hundred numbers of about 1 differ by rounding only."""
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 40, 96), (70, 96), (1, 1, 96), (0, 96), (96,)])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_linear_computes_the_same(onednn, shape, bias):
    model = nn.Sequential(nn.Linear(96, 50, bias))
    values = torch.randn(shape)
    expected = model(values)
    speed_up(model)
    assert isinstance(model[0], OneDnnLinear) == onednn
    assert close(model(values), expected)
    assert close(model(values[..., None].expand(*shape, 2)[..., 0]), expected), "not contiguous"


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv1d(8, 12, 3, stride=2),
        nn.Conv1d(8, 12, 1, bias=False),
        nn.Conv1d(8, 12, 4, padding=2, groups=4),
        nn.Conv1d(8, 12, 4, padding="same", dilation=2),
        nn.Conv1d(8, 8, 3, padding=1, groups=8),
        CausalConv1d(8, 8, 5, groups=8),
        CausalConv1d(8, 6, 3, stride=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(2, 8, 31), (1, 8, 7), (8, 31)])
@torch.inference_mode()
def test_a_convolution_computes_the_same(onednn, convolution, shape):
    values = torch.randn(shape)
    kind = type(convolution)
    try:
        expected = convolution(values)
        speed_up(convolution)
        assert isinstance(convolution, ChannelsLastConv1d | kind)
        assert isinstance(convolution, ChannelsLastConv1d)
        assert close(convolution(values), expected)
        assert close(convolution(values.mT.contiguous().mT), expected), "channels last already"
    finally:
        convolution.__class__ = kind


@torch.inference_mode()
def test_chained_convolutions_and_norms_copy_nothing(onednn):
    """The output of one has the memory layout that the next one and the norm between them read."""
    model = nn.Sequential(nn.Conv1d(8, 12, 3), nn.Conv1d(12, 8, 3))
    speed_up(model)
    assert model[0](torch.randn(2, 8, 31)).mT.is_contiguous()
    assert model(torch.randn(2, 8, 31)).mT.is_contiguous()


@torch.inference_mode()
def test_a_probe_uses_its_own_weights_and_leaves_nothing_behind(onednn):
    model = nn.Sequential(nn.Linear(96, 64), nn.GELU(), nn.Linear(64, 32))
    speed_up(model)
    values = torch.randn(70, 96)
    before, kept = model(values), model[0].weight.data_ptr()
    module = QuantizedModule("first", "linear", "0", "first")
    weights = fake_quantized_weights(model, [module], {})
    ranges = {"first": Range.symmetric(6.35)}  # 127 steps of 0.05
    for factor in (1, 3):  # the second weights may lie where the first ones lay
        changed = {"0": weights["0"] * factor}
        with fake_quantized(model, [module], ranges, {}, changed):
            rounded = (values / 0.05).round().clamp(-128, 127) * 0.05
            inner = nn.functional.gelu(nn.functional.linear(rounded, changed["0"], model[0].bias))
            assert close(model(values), nn.functional.linear(inner, model[2].weight, model[2].bias))
        del changed
        assert torch.equal(model(values), before)
    assert model[0].weight.data_ptr() == kept
    assert not model[0]._forward_pre_hooks


@torch.inference_mode()
def test_reduced_precision_is_left_to_torch(onednn):
    model = nn.Linear(96, 50)
    values = torch.randn(70, 96)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(values)
        speed_up(model)
        assert torch.equal(model(values), expected)
        assert expected.dtype == torch.bfloat16


@torch.inference_mode()
def test_reduced_weights_change_nothing_under_autocast():
    embedding, head = nn.Embedding(7, 16), nn.Linear(16, 7)
    head.weight = embedding.weight
    model = nn.ModuleList([nn.Conv1d(6, 16, 3), nn.Linear(16, 16), nn.Linear(16, 16), head, embedding])
    values = torch.randn(2, 6, 9)

    def run() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model[0](values).mT + embedding(torch.tensor([3]))
            return head(model[2](model[1](hidden)))

    expected = run()
    reduce_weights(model, "bfloat16", {"2"})
    assert torch.equal(run(), expected)
    reduced, full = torch.bfloat16, torch.float32
    assert [module.weight.dtype for module in model] == [reduced, reduced, full, full, full]


def test_elsewhere_nothing_changes(monkeypatch):
    monkeypatch.setattr(products, "onednn_gain", lambda threads: 2.0)
    monkeypatch.setattr(products.platform, "machine", lambda: "arm64")
    model = nn.Sequential(nn.Linear(4, 4), nn.Conv1d(4, 4, 1))
    speed_up(model)
    assert [type(module) for module in model] == [nn.Linear, nn.Conv1d]
    monkeypatch.setattr(products.platform, "machine", lambda: "x86_64")
    speed_up(model.to("meta"))
    assert [type(module) for module in model] == [nn.Linear, nn.Conv1d]


def test_the_faster_way_is_logged(caplog):
    products.onednn_gain.cache_clear()
    with caplog.at_level("INFO"):
        gain = products.onednn_gain(torch.get_num_threads())
    assert gain > 0
    chosen = "oneDNN" if gain >= products.LEAST_GAIN else "torch's BLAS"
    assert caplog.messages[0].startswith(f"linear layers compute by {chosen}: 256 x 512 x 512 takes")


@pytest.mark.parametrize(("gains", "least"), [([2.0, 1.8, 1.5, 1.6], 1.5), ([2.0, 1.1, 2.0, 2.0], 1.1), ([0.9], 0.9)])
def test_a_gain_counts_only_where_every_timing_shows_it(monkeypatch, gains, least):
    """A program that disturbs one timing must not make the jobs of a run compute in different ways."""
    timings = iter(gains)
    monkeypatch.setattr(products, "_fastest", lambda *ways: [next(timings), 1.0])
    products.onednn_gain.cache_clear()
    assert products.onednn_gain(1) == least
    products.onednn_gain.cache_clear()
