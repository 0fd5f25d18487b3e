"""The recogniser as a chain of layers: the same numbers, whatever a pass starts from and whatever shares its batch."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from recognising import Loaded
from wav2vec2_files import ARCHITECTURES, write_tiny_checkpoint

from stablequant.corpora.audio import read_audio
from stablequant.corpora.utterance import Utterance
from stablequant.quantization.collecting import collecting
from stablequant.quantization.int8 import Range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.memory import tolerates_padding

LENGTHS = [16_000, 12_345, 9_000]
VARIANTS = [(name, {}) for name in ARCHITECTURES] + [
    ("hubert", {"feat_extract_norm": "layer"}),
    ("hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    ("hubert", {"feat_extract_norm": "layer", "conv_pos_batch_norm": True}),
    ("wavlm", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
]


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join([v[0], *v[1]]))
def loaded(request, tmp_path_factory) -> Loaded:
    folder = tmp_path_factory.mktemp("variant")
    architecture, changes = request.param
    write_tiny_checkpoint(folder / "source", architecture, **changes)
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    return Loaded.load(folder / "checkpoint")


def noise(samples: int) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(samples))


def padded() -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([noise(n) for n in LENGTHS], batch_first=True)


@torch.inference_mode()
def test_all_layers_in_turn_are_the_model(loaded):
    recogniser = loaded.recogniser()
    audio = noise(16_000).reshape(2, 8_000)
    context = recogniser.context([8_000] * 2)
    expected = loaded.model(audio).logits
    assert torch.equal(recogniser.logits(recogniser.enter({"hidden": audio}), 0, context), expected)
    state = recogniser.enter({"hidden": audio})
    assert recogniser.resumable == len(recogniser.layers) - 1, "a pass may start before every layer"
    for number, layer in enumerate(recogniser.layers):
        stored = {name: values.numpy() for name, values in state.items()}
        resumed = recogniser.logits(recogniser.enter(stored), number, recogniser.context([8_000] * 2))
        assert torch.equal(resumed, expected), layer
        state = recogniser.run(state, number, number + 1, context)


@torch.inference_mode()
def test_passes_in_reduced_precision_resume_bit_for_bit_from_stored_float32(loaded):
    recogniser = loaded.recogniser().reduced("bfloat16")
    state = recogniser.enter({"hidden": noise(16_000).reshape(2, 8_000)})
    context = recogniser.context([8_000] * 2)
    expected = recogniser.logits(state, 0, context)
    assert not torch.equal(expected, loaded.recogniser().logits(state, 0, context))
    for number, layer in enumerate(recogniser.layers):
        stored = {name: values.float().numpy() for name, values in state.items()}
        assert torch.equal(recogniser.logits(recogniser.enter(stored), number, context), expected), layer
        state = recogniser.run(state, number, number + 1, context)


@torch.inference_mode()
def test_a_quantized_layer_computes_the_same_after_a_resumed_prefix(loaded):
    recogniser = loaded.recogniser()
    audio = noise(16_000).reshape(2, 8_000)
    context = recogniser.context([8_000] * 2)
    for number, layer in enumerate(recogniser.layers):
        modules = [m for m in loaded.modules if m.layer == layer]
        before = recogniser.run(recogniser.enter({"hidden": audio}), 0, number, context)
        ranges = dict.fromkeys((m.activation for m in modules), Range(-0.5, 1.5))
        weights = fake_quantized_weights(loaded.model, modules, {})
        with fake_quantized(loaded.model, modules, ranges, {}, weights):
            assert torch.equal(recogniser.logits(before, number, context), loaded.model(audio).logits), layer


@torch.inference_mode()
def test_padding_is_harmless_exactly_where_it_is_said_to_be(loaded):
    recogniser = loaded.recogniser()
    context = recogniser.context(LENGTHS)
    rows = context.rows(recogniser.logits(recogniser.enter({"hidden": padded()}), 0, context))
    off = []
    for row, samples in zip(rows, LENGTHS, strict=True):
        alone = loaded.model(noise(samples)[None]).logits[0].numpy()
        assert row.shape == alone.shape
        off.append(np.abs(row - alone).max())
    if tolerates_padding(loaded.model.config.to_dict()):
        assert max(off) < 1e-5
    else:
        assert max(off) > 1e-3, "this recogniser could be padded after all"


@torch.inference_mode()
def test_padding_stays_out_of_the_histograms(loaded):
    if not tolerates_padding(loaded.model.config.to_dict()):
        pytest.skip("never padded")
    recogniser = loaded.recogniser()
    with collecting(loaded.model, loaded.modules) as together:
        together.context = recogniser.context(LENGTHS)
        recogniser.logits(recogniser.enter({"hidden": padded()}), 0, together.context)
    with collecting(loaded.model, loaded.modules) as alone:
        for samples in LENGTHS:
            state = recogniser.enter({"hidden": noise(samples)[None]})
            recogniser.logits(state, 0, recogniser.context([samples]))
    found = together.histograms()
    for activation, expected in alone.histograms().items():
        assert found[activation].total == expected.total, activation
        assert found[activation].amax == pytest.approx(expected.amax, rel=1e-4), activation


@torch.inference_mode()
def test_speech_in_padded_batches_is_recognised_as_alone(loaded, demo_utterances):
    if not tolerates_padding(loaded.model.config.to_dict()):
        pytest.skip("never padded")
    draw = np.random.default_rng(0)
    shortened = [(u, u.samples - int(draw.integers(0, 4000))) for u in demo_utterances[:24]]
    model = copy.deepcopy(loaded.model)
    model.lm_head.bias -= model(noise(16_000)[None]).logits.mean(dim=(0, 1))  # no class wins whatever is said
    recogniser = loaded.recogniser(model)

    def hypotheses(chosen: list[tuple[Utterance, int]]) -> dict[str, str]:
        audio = np.zeros((len(chosen), max(samples for _, samples in chosen)), dtype=np.float32)
        for row, (utterance, samples) in zip(audio, chosen, strict=True):
            row[:samples] = loaded.front_end.prepare(read_audio(Path(utterance.path), 16_000).samples[:samples])
        context = recogniser.context([samples for _, samples in chosen])
        found = recogniser.recognise(recogniser.enter({"hidden": audio}), 0, context)
        return {u.path: recognised.text for (u, _), recognised in zip(chosen, found, strict=True)}

    alone = {path: words for one in shortened for path, words in hypotheses([one]).items()}
    assert len(set(alone.values())) > 5, "it recognises the same in everything"
    assert hypotheses(shortened) == alone


@torch.inference_mode()
def test_utterances_are_loaded_and_recognised_as_transformers_does(tiny, demo_utterances):
    """By its own preprocessing and its own forward pass."""
    from transformers import Wav2Vec2FeatureExtractor

    recogniser = tiny.recogniser()
    by_length = {u.samples: u for u in demo_utterances}
    batch = [by_length[samples] for samples in sorted(by_length)[-3:]]
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tiny.folder)
    state = recogniser.load(batch)
    assert state["hidden"].shape == (3, batch[-1].samples)
    for row, utterance in zip(state["hidden"], batch, strict=True):
        samples = read_audio(Path(utterance.path), 16_000).samples
        prepared = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_values
        assert torch.allclose(row[: utterance.samples], prepared[0], atol=1e-4)
        assert not row[utterance.samples :].any(), "padding is not silence"
        [found] = recogniser.recognise(recogniser.load([utterance]), 0, recogniser.context([utterance.samples]))
        expected = torch.log_softmax(tiny.model(prepared).logits, dim=-1)[0].numpy()
        assert np.abs(found.log_posteriors - expected).max() < 1e-3
        assert found.text == tiny.front_end.vocabulary.decode(expected.argmax(axis=-1))
        assert found.guide is None


def test_samples_are_counted_by_layer(tiny):
    recogniser = tiny.recogniser()
    state = recogniser.silence(8_000)
    recogniser.run(state, 0, 2, recogniser.context([8_000]))
    assert recogniser.samples == {"cnn01": 8_000, "cnn02": 8_000}
