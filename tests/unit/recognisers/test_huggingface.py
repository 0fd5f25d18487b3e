"""Checkpoints in Hugging Face layout: what people publish is read, what cannot be read is refused by name."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import DEMO
from json_files import edit
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCTC, HubertModel, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor
from wav2vec2_files import ARCHITECTURES, front_end_of, tiny_model, write_tiny_checkpoint

from stablequant.errors import StableQuantError
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.layers import layer_names_of, quantized_modules
from stablequant.recognisers.wav2vec2.loading import load_model


def logits(model: torch.nn.Module) -> np.ndarray:
    audio = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model(audio).logits.numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_is_imported_unchanged(tmp_path, architecture):
    write_tiny_checkpoint(tmp_path / "source", architecture)
    table = import_checkpoint(str(tmp_path / "source"), tmp_path / "imported")
    config = json.loads((tmp_path / "source/config.json").read_text())
    assert table["layer"].unique().tolist() == layer_names_of(config)
    assert ("positional" in set(table["layer"])) == ("conformer" not in architecture)

    expected = logits(AutoModelForCTC.from_pretrained(tmp_path / "source", attn_implementation="eager").eval())
    model = load_model(tmp_path / "imported")
    assert np.abs(logits(model) - expected).max() < 1e-5

    called = set()
    for module in quantized_modules(model.config.to_dict()):
        model.get_submodule(module.module).register_forward_pre_hook(lambda *_, name=module.module: called.add(name))
    logits(model)
    assert called == set(table["module"]), "a module that is never called can be neither observed nor quantized"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_large_weight_escapes_the_table(architecture):
    """All but WavLM's gates of a position bias, which are a few hundred numbers."""
    model = tiny_model(architecture)
    listed = {module.module for module in quantized_modules(model.config.to_dict())}
    left = {
        name: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv1d) and name not in listed
    }
    expected = {name: shape for name, shape in left.items() if "gru_rel_pos_linear" in name}
    unused = {name for name in left if "pos_conv_embed" in name and "conformer" in architecture}
    assert left.keys() == expected.keys() | unused
    assert all(shape[0] == 8 for shape in expected.values())


def test_pickled_weights(source, tmp_path):
    model = AutoModelForCTC.from_pretrained(source)
    (source / "model.safetensors").unlink()
    torch.save(model.state_dict(), source / "pytorch_model.bin")
    import_checkpoint(str(source), tmp_path / "imported")
    assert np.abs(logits(load_model(tmp_path / "imported")) - logits(model.eval())).max() < 1e-5


def test_weights_in_shards(source, tmp_path):
    model = AutoModelForCTC.from_pretrained(source).eval()
    (source / "model.safetensors").unlink()
    model.save_pretrained(source, max_shard_size="100KB")
    assert len(list(source.glob("model-*.safetensors"))) > 1
    import_checkpoint(str(source), tmp_path / "imported")
    assert np.abs(logits(load_model(tmp_path / "imported")) - logits(model)).max() < 1e-5


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_weights_never_run_code(source, tmp_path):
    (source / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Bomb(tmp_path / "exploded")}, source / "pytorch_model.bin")
    with pytest.raises(StableQuantError, match=r"cannot be read: it asks for .*which could run code") as refusal:
        import_checkpoint(str(source), tmp_path / "imported")
    assert "weights_only" not in str(refusal.value), "advises to read it unrestricted"
    assert not (tmp_path / "exploded").exists()
    pickle.loads(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert (tmp_path / "exploded").exists(), "the bomb is a dud and proves nothing"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architectures": ["HubertForSequenceClassification"]}, "HubertForSequenceClassification.*no head"),
        ({"architectures": ["SpeechT5ForSpeechToText"], "model_type": "speecht5"}, "SpeechT5.*not supported"),
        ({"add_adapter": True}, "add_adapter"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim"),
        ({"hidden_size": 64}, "weights"),
    ],
)
def test_other_models_are_refused(source, tmp_path, changes, named):
    edit(source / "config.json", **changes)
    with pytest.raises(StableQuantError, match=named):
        import_checkpoint(str(source), tmp_path / "imported")


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        ("whisper", "WhisperModel"),
        ("whisper", "WhisperForAudioClassification"),
        ("moonshine", "MoonshineForConditionalGeneration"),
        ("speecht5", "SpeechT5ForSpeechToText"),
        ("speech-encoder-decoder", "SpeechEncoderDecoderModel"),
        ("bert", "BertForMaskedLM"),
        ("sew", "SEWForCTC"),
        ("sew-d", "SEWDForCTC"),
        ("mctct", "MCTCTForCTC"),
        ("wav2vec2", "Wav2Vec2Model"),
        ("wav2vec2", "Wav2Vec2ForPreTraining"),
        ("wav2vec2", "Wav2Vec2ForSequenceClassification"),
        ("unispeech-sat", "UniSpeechSatForXVector"),
    ],
)
def test_other_models_are_refused_by_the_name_of_what_they_are(source, tmp_path, kind, architecture):
    (source / "config.json").write_text(json.dumps({"model_type": kind, "architectures": [architecture]}))
    with pytest.raises(StableQuantError, match=rf"config\.json: {architecture} \({kind}\)"):
        import_checkpoint(str(source), tmp_path / "imported")


def test_features_of_several_numbers_are_refused(source, tmp_path):
    (source / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80, "sampling_rate": 16000}))
    with pytest.raises(StableQuantError, match=r"feature_size 80\) does not take raw audio"):
        import_checkpoint(str(source), tmp_path / "imported")


def test_a_model_without_a_head_is_refused_even_where_it_does_not_say_so(source, tmp_path):
    HubertModel.from_pretrained(source).save_pretrained(source)
    edit(source / "config.json", architectures="absent")
    with pytest.raises(StableQuantError, match="no CTC head"):
        import_checkpoint(str(source), tmp_path / "imported")
    (source / "vocab.json").unlink()
    with pytest.raises(StableQuantError, match=r"vocab\.json: the file does not exist .*; a base model has no vocab"):
        import_checkpoint(str(source), tmp_path / "imported")


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing"])
def test_damaged_weights_are_refused(source, tmp_path, damage):
    weights = source / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    if damage == "missing":
        weights.unlink()
    with pytest.raises(StableQuantError, match=r"cannot be read: .*; restore"):
        import_checkpoint(str(source), tmp_path / "imported")


def test_weights_that_are_no_numbers_are_refused(source, tmp_path):
    model = AutoModelForCTC.from_pretrained(source)
    model.lm_head.weight.data[3, 5] = torch.nan
    model.save_pretrained(source)
    with pytest.raises(StableQuantError, match="the weights contain NaN or infinity; take an intact checkpoint"):
        import_checkpoint(str(source), tmp_path / "imported")


def test_normalisation_is_the_checkpoints(source, tmp_path):
    edit(source / "preprocessor_config.json", do_normalize=False, sampling_rate=8000)
    front_end = front_end_of(source)
    assert (front_end.do_normalize, front_end.sample_rate) == (False, 8000)


def test_a_processor_saved_as_one_file(source, tmp_path):
    """What transformers 5 writes."""
    (source / "preprocessor_config.json").unlink()
    Wav2Vec2Processor(
        Wav2Vec2FeatureExtractor(do_normalize=False), Wav2Vec2CTCTokenizer(str(source / "vocab.json"))
    ).save_pretrained(source)
    assert not (source / "preprocessor_config.json").exists()
    front_end = front_end_of(source)
    assert not front_end.do_normalize
    assert front_end.vocabulary.delimiter == "|"


def test_a_missing_preprocessor_is_named(source, tmp_path):
    (source / "preprocessor_config.json").unlink()
    with pytest.raises(StableQuantError, match=r"preprocessor_config\.json: the file does not exist"):
        import_checkpoint(str(source), tmp_path / "imported")


def test_features_other_than_the_waveform_are_refused(source, tmp_path):
    edit(source / "preprocessor_config.json", feature_extractor_type="SeamlessM4TFeatureExtractor")
    with pytest.raises(StableQuantError, match=r"SeamlessM4T.*raw audio"):
        import_checkpoint(str(source), tmp_path / "imported")


def test_what_was_imported_can_be_imported_again(tmp_path):
    import_checkpoint(str(DEMO), tmp_path / "once")
    import_checkpoint(str(tmp_path / "once"), tmp_path / "twice")
    for file in (tmp_path / "once").iterdir():
        assert file.read_bytes() == (tmp_path / "twice" / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    "architecture", ["wav2vec2", "hubert", "wavlm", "data2vec", "conformer-relative", "unispeech", "unispeech-sat"]
)
def test_a_parameter_that_only_training_reads_may_be_missing(tmp_path, architecture):
    """As in facebook/wav2vec2-base-960h and -large-960h, whose config masks time though no mask is stored."""
    source = tmp_path / "source"
    write_tiny_checkpoint(source, architecture, mask_time_prob=0.05)
    weights = load_file(source / "model.safetensors")
    (stored,) = [name for name in weights if name.endswith("masked_spec_embed")]
    save_file({n: w for n, w in weights.items() if n != stored}, source / "model.safetensors", {"format": "pt"})
    for name in ("one", "two"):
        import_checkpoint(str(source), tmp_path / name)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two, "what is missing was drawn at random"
    expected = logits(AutoModelForCTC.from_pretrained(source, attn_implementation="eager").eval())
    assert np.abs(logits(load_model(tmp_path / "one")) - expected).max() < 1e-5
    needed = next(name for name in weights if name.endswith("feature_projection.projection.weight"))
    save_file({n: w for n, w in weights.items() if n != needed}, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(StableQuantError, match=r"the checkpoint lacks \S+projection\.weight"):
        import_checkpoint(str(source), tmp_path / "three")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *(("config.json", {"architectures": value}) for value in ([5], [None], {"a": 1}, 5)),
        *(("config.json", {"vocab_size": value}) for value in (None, "x", [1], 10**30)),
        *(("config.json", {"num_hidden_layers": value}) for value in (10**30, -1, 1.5)),
        *(("preprocessor_config.json", {"sampling_rate": value}) for value in (None, "x", [1], float("nan"))),
        *(("tokenizer_config.json", {key: [1]}) for key in ("pad_token", "word_delimiter_token")),
        *(("tokenizer_config.json", {"added_tokens_decoder": value}) for value in ([], {"x": {"content": "a"}})),
        ("added_tokens.json", {"a": [1]}),
        ("vocab.json", {"a": [1]}),
    ],
    ids=str,
)
def test_values_of_another_kind_are_refused_in_one_sentence(source, tmp_path, file, content):
    edit(source / file, **content)
    with pytest.raises(StableQuantError) as refused:
        import_checkpoint(str(source), tmp_path / "imported")
    assert str(refused.value).startswith(str(source)) and "\n" not in str(refused.value)
    assert not (tmp_path / "imported").exists()
