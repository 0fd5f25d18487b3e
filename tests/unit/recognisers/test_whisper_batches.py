"""Whisper in batches: the same as row by row, and along fp32's tokens only what differs is decoded."""

import numpy as np
import pytest
import torch
from whisper_files import import_tiny_whisper, tones, torch_networks

from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.whisper import torch_greedy
from stablequant.search.costs import layer_costs

AUDIO = [tones(0.4 + 0.3 * i, i) for i in range(6)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return import_tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
def recogniser(checkpoint):
    return load_recogniser(checkpoint)


def recognise(recogniser, audio, guides=None):
    state = recogniser.enter({"hidden": np.stack([recogniser.front_end.features(samples) for samples in audio])})
    return recogniser.recognise(state, 0, recogniser.context([len(samples) for samples in audio]), guides)


def change(recogniser, size: float) -> None:
    """Change a decoder layer, as quantization does."""
    weight = recogniser.model.model.decoder.layers[1].fc2.weight
    weight += size * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))


def same(found, expected) -> bool:
    return all(
        (a.text, a.guide) == (b.text, b.guide) and np.abs(a.log_posteriors - b.log_posteriors).max() < 1e-4
        for a, b in zip(found, expected, strict=True)
    )


def test_a_batch_gives_what_its_rows_give(recogniser):
    alone = [recognise(recogniser, [samples])[0] for samples in AUDIO]
    assert len({len(r.guide) for r in alone}) > 1, "all texts are equally long"
    together = recognise(recogniser, AUDIO)
    assert same(together, alone)
    guides = [r.guide for r in alone]
    change(recogniser, 0.3)
    followed = recognise(recogniser, AUDIO, guides)
    assert same(followed, [recognise(recogniser, [a], [g])[0] for a, g in zip(AUDIO, guides, strict=True)])


def test_engines_give_the_same_in_batches(checkpoint):
    decoder = family_of(checkpoint).decoder(checkpoint, torch_networks(checkpoint))
    assert decoder.recognise(AUDIO) == [decoder.recognise([samples])[0] for samples in AUDIO]


@pytest.mark.parametrize("size", [0.03, 0.1, 0.3, 1.0])
def test_along_the_reference_a_changed_layer_gives_the_text_of_full_decoding(recogniser, size):
    guides = [r.guide for r in recognise(recogniser, AUDIO)]
    change(recogniser, size)
    full = recognise(recogniser, AUDIO)
    along = recognise(recogniser, AUDIO, guides)
    assert [r.text for r in along] == [r.text for r in full]
    assert [r.guide for r in along] == guides
    if size == 1.0:
        assert any(list(f.guide) != list(g) for f, g in zip(full, guides, strict=True)), "nothing had to be decoded"


def test_only_texts_that_differ_are_decoded_and_only_from_there_on(recogniser, monkeypatch):
    free = recognise(recogniser, AUDIO)
    guides = [list(r.guide) for r in free]
    changed = [list(guide) for guide in guides]
    changed[2][-3] += 1  # as if fp32 had written another token there
    steps = []
    decode = torch_greedy.decode

    def counted(model, tokens, *rest):
        steps.append(tuple(tokens.shape))
        return decode(model, tokens, *rest)

    monkeypatch.setattr(torch_greedy, "decode", counted)
    prompt, longest = len(recogniser.front_end.prompt), max(map(len, guides))
    assert [r.text for r in recognise(recogniser, AUDIO, guides)] == [r.text for r in free]
    assert steps == [(len(AUDIO), prompt + longest - 1)]
    steps.clear()
    assert [r.text for r in recognise(recogniser, AUDIO, changed)] == [r.text for r in free]
    assert steps == [(len(AUDIO), prompt + longest - 1), (1, 1), (1, 1)]


def test_what_is_decoded_anew_is_counted_by_its_share_of_the_products(recogniser):
    guide = list(recognise(recogniser, AUDIO)[0].guide)
    assert set(recogniser.samples.values()) == {len(AUDIO) * recogniser.front_end.window}
    changed = [*guide[:2], guide[2] + 1, *guide[3:]]
    macs, counted = [], []
    for tokens in (guide, changed):
        recogniser.samples.clear()
        products = dict.fromkeys(("encoder02", "decoder02", "head"), 0)

        def count(module, _inputs, output, layer, products=products):
            products[layer] += output.numel() * module.in_features

        model = recogniser.model
        parts = {"encoder02": model.model.encoder.layers[1], "decoder02": model.model.decoder.layers[1]}
        linears = [
            (layer, m) for layer, part in parts.items() for m in part.modules() if isinstance(m, torch.nn.Linear)
        ]
        handles = [
            linear.register_forward_hook(lambda *call, layer=layer: count(*call, layer))
            for layer, linear in [*linears, ("head", model.proj_out)]
        ]
        recognise(recogniser, AUDIO[:1], [tokens])
        for handle in handles:
            handle.remove()
        macs.append(products)
        counted.append({layer: recogniser.samples[layer] for layer in products})
    assert set(counted[0].values()) == {recogniser.front_end.window}
    assert macs[1]["head"] > macs[0]["head"], "nothing was decoded anew"
    for layer in macs[0]:
        assert counted[1][layer] / counted[0][layer] == pytest.approx(macs[1][layer] / macs[0][layer], abs=1e-3), layer


def test_costs_are_those_of_whole_windows(recogniser):
    """However short an utterance is, its hidden values are those of a window."""
    window = recogniser.front_end.window
    costs = layer_costs(recogniser)
    context = recogniser.context([len(samples) for samples in AUDIO])
    state = recogniser.enter({"hidden": np.stack([recogniser.front_end.features(samples) for samples in AUDIO])})
    for layer in range(recogniser.resumable):
        bytes_of_values = sum(values.numel() * values.element_size() for values in state.values())
        assert costs[recogniser.layers[layer]].bytes * context.samples == pytest.approx(bytes_of_values)
        state = recogniser.run(state, layer, layer + 1, context)
    assert context.samples == len(AUDIO) * window
