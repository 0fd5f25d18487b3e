"""Wav2Vec2-BERT: features, layers and lengths against transformers' own extractor and model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bert_files import VARIANTS, by_transformers, noise, tiny_bert, write_tiny_bert
from json_files import edit
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertModel, Wav2Vec2CTCTokenizer

from stablequant.corpora.audio import read_audio
from stablequant.corpora.utterance import Utterance
from stablequant.errors import StableQuantError
from stablequant.quantization.collecting import collecting
from stablequant.quantization.gptq import columns_of
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.operations import CausalConv1d, is_padded, operation_of
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.wav2vec2_bert.filter_bank import mel_filters
from stablequant.recognisers.wav2vec2_bert.forward import Wav2Vec2BertRecogniser
from stablequant.recognisers.wav2vec2_bert.front_end import FilterBank

# 1 to 6 frames, then seconds: even and odd numbers of frames in even and odd numbers of stacks, each alone
LENGTHS = [560, 720, 880, 1040, 1200, 16_000, 16_160, 16_320, 16_480, 31_234]


def bank(**changes) -> FilterBank:
    return FilterBank(16_000, True, Vocabulary(["<pad>", "a"], 0), **changes)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"padding_value": 1.0}, {"padding_value": 1.0}),
        ({"padding_value": 0.0, "num_mel_bins": 23, "feature_size": 23}, {"mel_bins": 23}),
        ({"stride": 3}, {"stride": 3}),
        ({"sampling_rate": 8000}, {"sample_rate": 8000}),
        ({"return_attention_mask": False}, {"masked": False}),
    ],
    ids=str,
)
def test_features_are_those_of_transformers_extractor(settings, changes, demo_utterances):
    """To 1e-4 where features have a variance of 1; transformers rounds its spectrum to single precision."""
    rate = settings.get("sampling_rate", 16_000)
    extractor = SeamlessM4TFeatureExtractor(**{"padding_value": 0.0} | settings)
    front_end = FilterBank(**{"sample_rate": 16_000, "do_normalize": True, "vocabulary": bank().vocabulary} | changes)
    assert np.abs(mel_filters(rate, front_end.mel_bins).T - extractor.mel_filters).max() < 1e-12
    speech = read_audio(Path(demo_utterances[0].path), 16_000).samples
    for samples in [speech, np.zeros(5_000, dtype=np.float32), *map(noise, LENGTHS)]:
        if not front_end.stacks(len(samples)):
            continue
        expected = extractor(samples, sampling_rate=rate, return_tensors="np")
        found = front_end.inputs([samples])
        assert found["input_features"].dtype == np.float32
        assert found["input_features"].shape == expected["input_features"].shape
        assert np.abs(found["input_features"] - expected["input_features"]).max() < 1e-4
        mask = expected.get("attention_mask", np.ones(found["attention_mask"].shape))
        assert found["attention_mask"].tolist() == mask.tolist()
        assert front_end.stacks(len(samples)) == mask.shape[1]


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, tmp_path_factory) -> tuple[Path, Wav2Vec2BertRecogniser]:
    folder = tmp_path_factory.mktemp(request.param)
    write_tiny_bert(folder / "source", request.param)
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    return folder / "source", load_recogniser(folder / "checkpoint")


def logits(recogniser: Wav2Vec2BertRecogniser, audio: list[np.ndarray]) -> list[np.ndarray]:
    """Of recordings that are recognised together."""
    prepared = [recogniser.front_end.prepare(samples) for samples in audio]
    features = np.zeros((len(audio), max(map(len, prepared)), recogniser.front_end.width), dtype=np.float32)
    for row, values in zip(features, prepared, strict=True):
        row[: len(values)] = values
    context = recogniser.context([len(samples) for samples in audio])
    return context.rows(recogniser.logits(recogniser.enter({"hidden": features}), 0, context))


def test_logits_and_words_are_those_of_transformers(variant):
    """Also of the stack that is half padding, which transformers recognises too."""
    source, recogniser = variant
    audio = [noise(length) for length in LENGTHS]
    tokenizer = Wav2Vec2CTCTokenizer(str(source / "vocab.json"))
    for samples, expected in zip(audio, by_transformers(source, audio), strict=True):
        [found] = logits(recogniser, [samples])
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-4, len(samples)
        expected[:, 1:4] = found[:, 1:4] = -np.inf  # tokens that are never written, but by transformers' tokenizer
        words = tokenizer.decode(expected.argmax(axis=-1)).strip()
        assert recogniser.front_end.vocabulary.decode(found.argmax(axis=-1)) == words


def test_padded_batches_are_recognised_as_alone_where_that_is_promised(variant):
    source, recogniser = variant
    audio = [noise(length) for length in LENGTHS[-4:]]
    utterances = [Utterance(str(n), str(n), n, "", "") for n in LENGTHS[-4:]]
    if "adapter" in recogniser.layers[-2]:
        assert all(len(batch) == 1 for batch in recogniser.batches(utterances, 1e9, 0)), "the adapter hears padding"
        return
    assert max(map(len, recogniser.batches(utterances, 1e9, 0))) == 3
    for found, expected in zip(logits(recogniser, audio), by_transformers(source, audio), strict=True):
        assert np.abs(found - expected).max() < 1e-4


def test_a_pass_may_start_before_every_layer(variant):
    _, recogniser = variant
    samples = noise(16_160)
    [expected] = logits(recogniser, [samples])
    context = recogniser.context([len(samples)])
    state = recogniser.enter({"hidden": recogniser.front_end.prepare(samples)[None]})
    for number, layer in enumerate(recogniser.layers):
        resumed = recogniser.logits(state, number, recogniser.context([len(samples)]))
        assert np.array_equal(resumed[0].numpy(), expected), layer
        state = recogniser.run(state, number, number + 1, context)


def test_lengths_are_those_of_what_enters_each_module(variant):
    """And every Linear and Conv1d is listed, and called."""
    _, recogniser = variant
    entered: dict[str, tuple[int, ...]] = {}
    listed = {module.module: module for module in recogniser.modules}
    for name, module in recogniser.model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv1d):
            assert name in listed
            turned = isinstance(module, torch.nn.Conv1d)

            def hook(_module, inputs, name=name, turned=turned) -> None:
                entered[name] = tuple(inputs[0].mT.shape if turned else inputs[0].shape)

            module.register_forward_pre_hook(hook)
    for length in LENGTHS:
        entered.clear()
        logits(recogniser, [noise(length), noise(length + 1)[:-1]])
        context = recogniser.context([length] * 2)
        assert entered.keys() == listed.keys()
        for name, shape in entered.items():
            assert context.lengths(listed[name]) == [shape[1]] * shape[0], name


def test_padding_stays_out_of_the_histograms(tmp_path):
    write_tiny_bert(tmp_path / "source")
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    recogniser = load_recogniser(tmp_path / "checkpoint")
    lengths = LENGTHS[-4:]
    with collecting(recogniser.model, recogniser.modules) as together:
        together.context = recogniser.context(lengths)
        logits(recogniser, [noise(length) for length in lengths])
    with collecting(recogniser.model, recogniser.modules) as alone:
        for length in lengths:
            logits(recogniser, [noise(length)])
    for activation, collector in alone.items():
        assert together[activation].counts.sum() == collector.counts.sum(), activation
        assert together[activation].histogram().amax == pytest.approx(collector.histogram().amax, rel=1e-4), activation


def test_the_depthwise_convolution_pads_the_past_only():
    """Its zeros are its own in the graph, so no centre may be subtracted from its input."""
    recogniser = Wav2Vec2BertRecogniser(tiny_bert(), bank())
    plain = recogniser.model.wav2vec2_bert.encoder.layers[0].conv_module.depthwise_conv
    causal = CausalConv1d.of(plain)
    values = torch.randn(2, 48, 20)
    expected = plain(torch.nn.functional.pad(values, (6, 0)))
    assert torch.equal(causal(values), expected)
    assert causal.weight is plain.weight
    columns = columns_of(causal, values[0])  # what the rounding of weights measures
    product = torch.einsum("gck,gckf->gf", causal.weight, columns)
    assert torch.allclose(product, expected[0], atol=1e-5)
    assert is_padded(causal) and not is_padded(plain)


@pytest.mark.parametrize(
    ("file", "changes", "named"),
    [
        ("preprocessor_config.json", {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "makes no log-mel"),
        ("preprocessor_config.json", {"padding_side": "left"}, "padded on the left"),
        ("preprocessor_config.json", {"num_mel_bins": 40}, "40 mel bins in stacks of 2 do not fit .* 160 features"),
        ("preprocessor_config.json", {"stride": 1}, "a 'stride' of 1 is not supported"),
        ("preprocessor_config.json", {"num_mel_bins": "x"}, "holds something else"),
        ("config.json", {"num_hidden_layers": 3}, "the checkpoint lacks"),
        ("config.json", {"add_adapter": True, "num_adapter_layers": 0}, "an adapter without layers"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_refused(tmp_path, file, changes, named):
    source = tmp_path / "source"
    write_tiny_bert(source)
    edit(source / file, **changes)
    with pytest.raises(StableQuantError, match=named):
        import_checkpoint(str(source), tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_the_base_model_is_refused_for_its_missing_head(tmp_path):
    """facebook/w2v-bert-2.0 is a Wav2Vec2BertModel whose vocab_size is null."""
    write_tiny_bert(tmp_path)
    Wav2Vec2BertModel.from_pretrained(tmp_path).save_pretrained(tmp_path)
    edit(tmp_path / "config.json", vocab_size=None)
    with pytest.raises(StableQuantError, match=r"Wav2Vec2BertModel \(wav2vec2-bert\) has no head"):
        import_checkpoint(str(tmp_path), tmp_path / "imported")


def test_what_was_imported_can_be_imported_again(tmp_path):
    write_tiny_bert(tmp_path / "source", "adapter", padding_value=0.5)
    import_checkpoint(str(tmp_path / "source"), tmp_path / "once")
    import_checkpoint(str(tmp_path / "once"), tmp_path / "twice")
    for file in (tmp_path / "once").iterdir():
        assert file.read_bytes() == (tmp_path / "twice" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("changes", [{"adapter_stride": 0}, {"hidden_size": "x"}, {"feature_projection_input_dim": 7}])
def test_damaged_sizes_are_refused_by_the_files_name(tmp_path, changes):
    write_tiny_bert(tmp_path / "source", "adapter")
    import_checkpoint(str(tmp_path / "source"), tmp_path)
    edit(tmp_path / "config.json", **changes)
    with pytest.raises(StableQuantError, match=r"config\.json: not a recogniser's"):
        family_of(tmp_path).front_end(tmp_path)


def test_the_shortest_audio_is_the_first_with_two_frames_and_an_output(tmp_path):
    """560 samples hold two windows; three strided convolutions of kernel 9 take more stacks."""
    for name, changes, expected in (
        ("plain", {}, 560),
        ("adapter", {}, 560),
        ("adapter", {"adapter_kernel_size": 9}, 400 + (2 * 7 - 1) * 160),  # 7 stacks and a zero on either side
    ):
        folder = tmp_path / f"{name}{expected}"
        write_tiny_bert(folder / "source", name, **changes)
        import_checkpoint(str(folder / "source"), folder / "imported")
        front_end = family_of(folder / "imported").front_end(folder / "imported")
        assert front_end.shortest_samples == expected
        recogniser = load_recogniser(folder / "imported")
        assert len(logits(recogniser, [noise(expected)])[0]) == 1
        assert np.isfinite(logits(recogniser, [noise(expected)])[0]).all()
    assert operation_of(recogniser.model, recogniser.modules[0]).in_features == 160
