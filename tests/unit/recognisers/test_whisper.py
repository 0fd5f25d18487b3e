"""Whisper against transformers: features, logits, greedy decoding; the whole decoder against its steps."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import soundfile
import torch
from json_files import edit
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
from whisper_files import CLASSES, FIRST_SPECIAL, SECONDS, import_tiny_whisper, write_tiny_whisper

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance
from stablequant.errors import StableQuantError
from stablequant.recognisers.describe_layers import layer_table
from stablequant.recognisers.export_onnx import export_onnx
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.whisper.loading import load_model
from stablequant.recognisers.whisper.mel import log_mel
from stablequant.storage.files import graph_files, read_json

RATE = 16_000
GERMAN = FIRST_SPECIAL + 3  # the token of the language


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return import_tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def recogniser(checkpoint):
    return load_recogniser(checkpoint)


@pytest.fixture(scope="module")
def original(checkpoint):
    source = checkpoint.parent / "source"
    return WhisperForConditionalGeneration.from_pretrained(source), WhisperFeatureExtractor.from_pretrained(source)


def recordings(count: int = 6) -> list[np.ndarray]:
    """Tones and noise, 0.3 to 2 s each."""
    draw = np.random.default_rng(0)
    found = []
    for i in range(count):
        time = np.arange(int(RATE * (0.3 + 1.7 * i / max(1, count - 1)))) / RATE
        tone = np.sin(2 * np.pi * draw.uniform(100, 3000) * time) * np.sin(2 * np.pi * draw.uniform(1, 9) * time)
        found.append((0.3 * tone + draw.normal(size=len(time)) * draw.uniform(0.001, 0.1)).astype(np.float32))
    return found


def features_of(recogniser, audio):
    return recogniser.enter({"hidden": np.stack([recogniser.front_end.features(samples) for samples in audio])})


def contexts(recogniser, audio):
    return recogniser.context([len(samples) for samples in audio])


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("seconds", [2, 30])
def test_features_are_those_of_transformers(bins, seconds):
    samples = np.pad(recordings()[-1], (0, RATE * (seconds - SECONDS)))
    expected = WhisperFeatureExtractor(feature_size=bins, chunk_length=seconds)(samples, sampling_rate=RATE)
    assert np.abs(log_mel(samples, RATE, bins, 400, 160) - expected.input_features[0]).max() < 1e-4


def test_layers_stand_in_the_order_of_the_audio(recogniser):
    assert recogniser.layers == ["conv1", "conv2", "encoder01", "encoder02", "decoder01", "decoder02", "head"]
    assert recogniser.layers[recogniser.resumable] == "decoder01"
    table = layer_table(recogniser.model, recogniser.modules)
    linears = {
        name
        for name, module in recogniser.model.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv1d)
    }
    assert set(table["module"]) == linears


def test_greedy_decoding_and_posteriors_are_those_of_transformers(recogniser, original):
    model, extractor = original
    audio = recordings()
    found = recogniser.recognise(features_of(recogniser, audio), 0, contexts(recogniser, audio))
    assert len({recognised.text for recognised in found}) > 1, "every recording gives the same text"
    prompt = torch.tensor([recogniser.front_end.prompt])
    for samples, recognised in zip(audio, found, strict=True):
        features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
        generated = model.generate(features, language="en", task="transcribe")[0].tolist()
        written = [token for token in generated if token < FIRST_SPECIAL]
        assert [token for token in recognised.guide if token < FIRST_SPECIAL] == written
        given = torch.cat([prompt, torch.tensor([recognised.guide[:-1]], dtype=torch.int64)], dim=1)
        with torch.inference_mode():
            logits = model(features, decoder_input_ids=given).logits[0, prompt.shape[1] - 1 :]
        expected = torch.log_softmax(logits, dim=-1).numpy()
        assert recognised.log_posteriors.shape == (len(recognised.guide), CLASSES)
        assert np.abs(recognised.log_posteriors - expected).max() < 1e-3


def test_a_pass_may_stop_and_start_before_any_layer_of_the_encoder(recogniser):
    audio = recordings(2)
    context = contexts(recogniser, audio)
    state = features_of(recogniser, audio)
    whole = recogniser.recognise(state, 0, context)
    for layer in range(1, recogniser.resumable + 1):
        state = recogniser.run(state, layer - 1, layer, context)
        resumed = recogniser.recognise(state, layer, context)
        assert [r.text for r in resumed] == [r.text for r in whole]
        assert np.array_equal(resumed[0].log_posteriors, whole[0].log_posteriors)


def test_along_its_own_tokens_the_same_is_recognised(recogniser):
    audio = recordings()
    state, context = features_of(recogniser, audio), contexts(recogniser, audio)
    free = recogniser.recognise(state, 0, context)
    guided = recogniser.recognise(state, 0, context, [r.guide for r in free])
    for own, other in zip(free, guided, strict=True):
        assert (own.text, own.guide) == (other.text, other.guide)
        assert np.abs(own.log_posteriors - other.log_posteriors).max() < 1e-4


def test_along_tokens_of_another_recording_the_text_is_still_its_own(recogniser):
    """Decoding starts anew at the first difference; the posteriors stay along the guide."""
    audio = recordings()
    state, context = features_of(recogniser, audio), contexts(recogniser, audio)
    free = recogniser.recognise(state, 0, context)
    guides = [r.guide for r in free]
    turned = [*guides[1:], guides[0]]
    assert turned != guides
    found = recogniser.recognise(state, 0, context, turned)
    assert [r.text for r in found] == [r.text for r in free]
    assert [r.guide for r in found] == turned
    partly = [[*guide[:3], *other[3:]] for guide, other in zip(guides, turned, strict=True)]
    assert [r.text for r in recogniser.recognise(state, 0, context, partly)] == [r.text for r in free]


def test_three_graphs_decode_as_torch_does(recogniser, checkpoint, tmp_path):
    export_onnx(checkpoint, tmp_path / "fp32.onnx", threads=1)
    family = family_of(checkpoint)
    graphs = graph_files(tmp_path / "fp32.onnx", list(family.signatures(checkpoint)))
    assert sorted(path.name for path in graphs.values()) == [
        "fp32.decoder.onnx",
        "fp32.decoder_with_past.onnx",
        "fp32.onnx",
    ]
    networks = {}
    for name, path in graphs.items():
        session = ort.InferenceSession(path)
        told = session.get_modelmeta().custom_metadata_map
        assert (told["sample_rate"], told["window_samples"], told["language"]) == ("16000", f"{SECONDS * RATE}", "en")
        assert json.loads(told["prompt"]) == recogniser.front_end.prompt
        assert json.loads(told["versions"]).keys() == {"stablequant", "torch", "transformers"}
        names = [tensor.name for tensor in session.get_outputs()]
        assert names == list(family.signatures(checkpoint)[name].outputs)
        networks[name] = lambda tensors, session=session, names=names: dict(
            zip(names, session.run(names, dict(tensors)), strict=True)
        )
    decoder = family.decoder(checkpoint, networks)
    audio = recordings()
    found = recogniser.recognise(features_of(recogniser, audio), 0, contexts(recogniser, audio))
    assert len({len(r.guide) for r in found}) > 1, "all texts are equally long"
    assert decoder.recognise(audio) == [r.text for r in found]
    assert [decoder.recognise([samples])[0] for samples in audio] == [r.text for r in found]
    words = decoder.transcribe(
        np.concatenate([np.pad(audio[0], (0, SECONDS * RATE - len(audio[0]))), audio[1]]), 30, 1, 1
    )
    assert words[-1].end == pytest.approx(SECONDS + len(audio[1]) / RATE, abs=0.01)  # times are whole frames


def test_audio_longer_than_a_window_is_rejected(recogniser, tmp_path):
    for name, seconds in (("fits", SECONDS), ("long", SECONDS + 0.1)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(int(RATE * seconds)), RATE)
    (tmp_path / "split.csv").write_text("path,text\nfits.wav,one\nlong.wav,two\n")
    utterances, rejections = list_utterances(read_manifest(tmp_path / "split.csv"), recogniser.front_end)
    assert [u.utterance for u in utterances] == ["fits"]
    assert [(r.line, r.reason) for r in rejections] == [
        (3, "33600 samples are too many, the recogniser takes 32000; cut it, or name segments")
    ]


def test_batches_hold_any_lengths_within_the_budget(recogniser):
    utterances = [Utterance(str(i), str(i), 1000 + i, "x", "") for i in range(7)]
    batches = recogniser.batches(utterances, 1e9, seed=1)
    assert sorted(u.path for batch in batches for u in batch) == [str(i) for i in range(7)]
    assert len(batches) == 1
    assert [len(batch) for batch in recogniser.batches(utterances, 1, seed=1)] == [1] * 7


@pytest.mark.parametrize(
    ("file", "change", "fault"),
    [
        ("config.json", {"d_model": "32"}, "'d_model' is '32'"),
        ("config.json", {"decoder_attention_heads": 5}, "not a multiple of 'decoder_attention_heads'"),
        ("preprocessor_config.json", {"chunk_length": 30}, "its window is not as long as the encoder's"),
        ("generation_config.json", {"eos_token_id": None}, "'eos_token_id' is None"),
        ("generation_config.json", {"language": "xx"}, r"tokenizer\.json: no token <\|xx\|>"),
        ("generation_config.json", {"suppress_tokens": [10**9]}, "'suppress_tokens' is"),
        ("tokenizer.json", {"model": None}, "not a tokenizer"),
        ("preprocessor_config.json", {"n_fft": 2**20}, "'n_fft' is 1048576, more than a second"),
    ],
)
def test_damaged_files_are_named(checkpoint, tmp_path, file, change, fault):
    shutil.copytree(checkpoint.parent / "source", tmp_path / "source")
    edit(tmp_path / "source" / file, **change)
    with pytest.raises(StableQuantError, match=fault) as refused:
        import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    assert str(refused.value).startswith(f"{tmp_path}/source/")


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, "German"),
        ({"language": "german"}, None),
        ({"language": "<|de|>"}, None),
        ({"language": None, "forced_decoder_ids": [[1, GERMAN], [2, FIRST_SPECIAL + 5]]}, None),
    ],
)
def test_a_language_may_be_named_as_transformers_allows(checkpoint, tmp_path, changes, asked):
    shutil.copytree(checkpoint.parent / "source", tmp_path / "source")
    edit(tmp_path / "source/generation_config.json", **changes)
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint", asked)
    assert family_of(tmp_path / "checkpoint").front_end(tmp_path / "checkpoint").language == "de"
    assert read_json(tmp_path / "checkpoint/generation_config.json")["language"] == "de", "for engines"


def test_letters_are_counted_in_languages_without_spaces(checkpoint):
    japanese = replace(family_of(checkpoint).front_end(checkpoint), language="ja")
    assert japanese.spell("\u4eca\u65e5\u306f\u3001\u5929\u6c17 OK\u3002") == "\u4eca \u65e5 \u306f \u5929 \u6c17 o k"
    assert japanese.splits_letters and not family_of(checkpoint).front_end(checkpoint).splits_letters


def test_tokens_behind_the_timestamps_are_refused(tmp_path):
    """Texts would lack them: they look like timestamps."""
    write_tiny_whisper(tmp_path / "source", times=True)
    tokenizer = Tokenizer.from_file(str(tmp_path / "source/tokenizer.json"))
    tokenizer.add_tokens(["stablequant"])
    tokenizer.save(str(tmp_path / "source/tokenizer.json"))
    model = WhisperForConditionalGeneration.from_pretrained(tmp_path / "source")
    model.resize_token_embeddings(tokenizer.get_vocab_size())
    model.save_pretrained(tmp_path / "source")
    with pytest.raises(StableQuantError, match="tokens were added behind the timestamps"):
        import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")


def test_a_language_is_chosen_at_the_import(checkpoint, tmp_path):
    source = checkpoint.parent / "source"
    import_checkpoint(str(source), tmp_path / "german", "de")
    german, english = (family_of(folder).front_end(folder) for folder in (tmp_path / "german", checkpoint))
    assert (german.language, english.language) == ("de", "en")
    assert [a == b for a, b in zip(german.prompt, english.prompt, strict=True)] == [True, False, True, True]
    assert english.spell("Mr. Colour, twenty-one!") == "mister color 21"
    assert german.spell("Mr. Colour, zwanzig!") == "mr colour zwanzig"
    with pytest.raises(StableQuantError, match=r"no token <\|fr\|>"):
        import_checkpoint(str(source), tmp_path / "french", "fr")
    write_tiny_whisper(tmp_path / "alone", multilingual=False)
    with pytest.raises(StableQuantError, match="it writes English only, not 'de'"):
        import_checkpoint(str(tmp_path / "alone"), tmp_path / "german", "de")
    import_checkpoint(str(tmp_path / "alone"), tmp_path / "english")
    assert len(family_of(tmp_path / "english").front_end(tmp_path / "english").prompt) == 2


def test_missing_weights_and_models_without_a_text_head_are_refused(checkpoint, tmp_path):
    shutil.copytree(checkpoint.parent / "source", tmp_path / "source")
    model = WhisperForConditionalGeneration.from_pretrained(tmp_path / "source")
    model.model.save_pretrained(tmp_path / "headless")
    with pytest.raises(StableQuantError, match=r"WhisperModel \(whisper\) has no head that writes text"):
        import_checkpoint(str(tmp_path / "headless"), tmp_path / "checkpoint")
    weights = {name: values for name, values in model.state_dict().items() if "layers.1.fc2" not in name}
    weights.pop("proj_out.weight")
    model.save_pretrained(tmp_path / "source", state_dict=weights)
    with pytest.raises(StableQuantError, match=r"the checkpoint lacks model\.decoder\.layers\.1\.fc2\.bias and 3 more"):
        import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")


def test_quantized_weights_are_refused(checkpoint, tmp_path):
    shutil.copytree(checkpoint.parent / "source", tmp_path / "source")
    edit(tmp_path / "source/config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(StableQuantError, match=r"config\.json: its weights are already quantized .*made from"):
        import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")


def test_weights_of_another_size_are_refused_by_name(checkpoint, tmp_path):
    shutil.copytree(checkpoint.parent / "source", tmp_path / "source")
    weights = load_file(tmp_path / "source/model.safetensors")
    weights["model.encoder.layers.0.fc1.bias"] = weights["model.encoder.layers.0.fc1.bias"][1:].clone()
    save_file(weights, tmp_path / "source/model.safetensors", {"format": "pt"})
    with pytest.raises(StableQuantError, match=r"do not fit config\.json .*encoder\.layers\.0\.fc1\.bias"):
        import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", ""])
def test_names_that_a_wrapper_changed_are_found(checkpoint, tmp_path, prefix):
    """And the head need not be stored, as its weight is the embedding's."""
    shutil.copytree(checkpoint.parent / "source", tmp_path / "source")
    file = tmp_path / "source/model.safetensors"
    weights = {f"{prefix}{name}": values for name, values in load_file(file).items() if name != "proj_out.weight"}
    save_file(weights, file, {"format": "pt"})
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    found, expected = (load_model(folder, "sdpa").state_dict() for folder in (tmp_path / "checkpoint", checkpoint))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
