"""The recogniser as a chain of layers: the same numbers, whatever a pass starts from and whatever shares its batch."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES, Recogniser, write_tiny_checkpoint

from stablequant.corpora.audio import normalise, read_audio
from stablequant.corpora.list_utterances import Utterance
from stablequant.quantization.collecting import collecting
from stablequant.quantization.int8 import Range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.batches import tolerates_padding
from stablequant.recognisers.ctc.decoding import Recognition
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.search.costs import layer_costs, passes

LENGTHS = [16_000, 12_345, 9_000]
VARIANTS = [(name, {}) for name in ARCHITECTURES] + [
    ("hubert", {"feat_extract_norm": "layer"}),
    ("hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    ("hubert", {"feat_extract_norm": "layer", "conv_pos_batch_norm": True}),
    ("wavlm", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
]


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join([v[0], *v[1]]))
def recogniser(request, tmp_path_factory) -> Recogniser:
    folder = tmp_path_factory.mktemp("variant")
    architecture, changes = request.param
    write_tiny_checkpoint(folder / "source", architecture, **changes)
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    return Recogniser.load(folder / "checkpoint")


def noise(samples: int) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(samples))


def padded() -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([noise(n) for n in LENGTHS], batch_first=True)


@torch.inference_mode()
def test_all_layers_in_turn_are_the_model(recogniser):
    stages = Stages(recogniser.model)
    audio = noise(16_000).reshape(2, 8_000)
    frames = stages.frames([8_000] * 2)
    expected = recogniser.model(audio).logits
    assert torch.equal(stages.logits(stages.enter(audio), 0, frames), expected)
    hidden = stages.enter(audio)
    for number in range(len(stages.names)):
        resumed = stages.logits(stages.enter(hidden.numpy()), number, stages.frames([8_000] * 2))
        assert torch.equal(resumed, expected), stages.names[number]
        hidden = stages.run(hidden, number, number + 1, frames)


@torch.inference_mode()
def test_a_quantized_layer_computes_the_same_after_a_resumed_prefix(recogniser):
    stages = Stages(recogniser.model)
    audio = noise(16_000).reshape(2, 8_000)
    frames = stages.frames([8_000] * 2)
    for number, layer in enumerate(stages.names):
        modules = [m for m in recogniser.modules if m.layer == layer]
        before = stages.run(stages.enter(audio), 0, number, frames)
        ranges = dict.fromkeys((m.activation for m in modules), Range(-0.5, 1.5))
        weights = fake_quantized_weights(recogniser.model, modules, {})
        with fake_quantized(recogniser.model, modules, ranges, {}, weights):
            assert torch.equal(stages.logits(before, number, frames), recogniser.model(audio).logits), layer


@torch.inference_mode()
def test_padding_is_harmless_exactly_where_it_is_said_to_be(recogniser):
    stages = Stages(recogniser.model)
    frames = stages.frames(LENGTHS)
    rows = frames.rows(stages.logits(stages.enter(padded()), 0, frames))
    off = []
    for row, samples in zip(rows, LENGTHS, strict=True):
        alone = recogniser.model(noise(samples)[None]).logits[0].numpy()
        assert row.shape == alone.shape
        off.append(np.abs(row - alone).max())
    if tolerates_padding(recogniser.model.config.to_dict()):
        assert max(off) < 1e-5
    else:
        assert max(off) > 1e-3, "this recogniser could be padded after all"


@torch.inference_mode()
def test_padding_stays_out_of_the_histograms(recogniser):
    if not tolerates_padding(recogniser.model.config.to_dict()):
        pytest.skip("never padded")
    stages = Stages(recogniser.model)
    with collecting(recogniser.model, recogniser.modules) as together:
        together.frames = stages.frames(LENGTHS)
        stages.logits(stages.enter(padded()), 0, together.frames)
    with collecting(recogniser.model, recogniser.modules) as alone:
        for samples in LENGTHS:
            stages.logits(stages.enter(noise(samples)[None]), 0, stages.frames([samples]))
    for activation, collector in alone.items():
        assert together[activation].counts.sum() == collector.counts.sum(), activation
        assert together[activation].amax == pytest.approx(collector.amax, rel=1e-4), activation


@torch.inference_mode()
def test_speech_in_padded_batches_is_recognised_as_alone(recogniser, demo_utterances):
    config = recogniser.model.config.to_dict()
    if not tolerates_padding(config):
        pytest.skip("never padded")
    draw = np.random.default_rng(0)
    shortened = [(u, u.samples - int(draw.integers(0, 4000))) for u in demo_utterances[:24]]
    model = copy.deepcopy(recogniser.model)
    model.lm_head.bias -= model(noise(16_000)[None]).logits.mean(dim=(0, 1))  # no class wins whatever is heard
    stages = Stages(model)

    def spoken(chosen: list[tuple[Utterance, int]]) -> dict[str, str]:
        recognition = Recognition(recogniser.front_end.vocabulary)
        listed = [replace(u, samples=samples) for u, samples in chosen]
        audio = np.zeros((len(listed), max(u.samples for u in listed)), dtype=np.float32)
        for row, utterance in zip(audio, listed, strict=True):
            heard = read_audio(Path(utterance.path), 16_000).samples[: utterance.samples]
            row[: len(heard)] = normalise(heard, 1e-7)
        frames = stages.frames([u.samples for u in listed])
        recognition.add(listed, frames.rows(stages.logits(stages.enter(audio), 0, frames)))
        return recognition.hypotheses

    alone = {path: words for one in shortened for path, words in spoken([one]).items()}
    assert len(set(alone.values())) > 5, "it hears the same in everything"
    assert spoken(shortened) == alone


def test_costs_are_those_of_the_layers_weights(tiny):
    """Worked by hand: weights times outputs per second of audio; 3199 frames leave the first convolution."""
    stages = Stages(tiny.model)
    costs = layer_costs(stages)
    assert costs["cnn01"].macs == pytest.approx(16 * 10 * 3199 / 16_000)
    assert costs["cnn02"].bytes == pytest.approx(16 * 3199 * 4 / 16_000)
    assert costs["transformer01"].macs == pytest.approx((4 * 48 * 48 + 2 * 48 * 96) * 49 / 16_000)
    assert costs["head"].macs == pytest.approx(48 * 32 * 49 / 16_000)
    assert not stages.samples, "measuring counts as work"
    stages.logits(stages.enter(torch.zeros(1, 8_000)), 0, stages.frames([8_000]))
    assert passes(stages.samples, costs, 8_000) == pytest.approx(1)
    layer_costs(stages)
    assert passes(stages.samples, costs, 8_000) == pytest.approx(1), "measuring takes off what was counted"
    frames = stages.frames([8_000])
    stages.run(stages.enter(torch.zeros(1, 8_000)), 0, 2, frames)
    first = (costs["cnn01"].macs + costs["cnn02"].macs) / sum(c.macs for c in costs.values())
    assert passes(stages.samples, costs, 8_000) == pytest.approx(1 + first)
