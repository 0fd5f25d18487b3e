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
from wav2vec2_files import ARCHITECTURES, tiny_model, write_tiny_checkpoint

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.recognisers.wav2vec2.layers import layer_names_of, quantized_modules
from stablequant.recognisers.wav2vec2.loading import load_model


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "source"
    write_tiny_checkpoint(folder)
    return folder


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


def front_end_of(source: Path, tmp_path: Path) -> FrontEnd:
    import_checkpoint(str(source), tmp_path / "imported")
    return read_front_end(tmp_path / "imported")


def test_normalisation_is_the_checkpoints(source, tmp_path):
    edit(source / "preprocessor_config.json", do_normalize=False, sampling_rate=8000)
    front_end = front_end_of(source, tmp_path)
    assert (front_end.do_normalize, front_end.sample_rate) == (False, 8000)


def test_a_processor_saved_as_one_file(source, tmp_path):
    """What transformers 5 writes."""
    (source / "preprocessor_config.json").unlink()
    Wav2Vec2Processor(
        Wav2Vec2FeatureExtractor(do_normalize=False), Wav2Vec2CTCTokenizer(str(source / "vocab.json"))
    ).save_pretrained(source)
    assert not (source / "preprocessor_config.json").exists()
    front_end = front_end_of(source, tmp_path)
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


def write_vocabulary(folder: Path, tokens: list[str], **tokenizer) -> None:
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


LETTERS = [chr(ord("a") + i) for i in range(26)]


def test_a_lower_case_vocabulary_with_its_blank_last(source, tmp_path):
    """The form of most checkpoints fine-tuned by transformers' recipe: tokens added behind the letters."""
    write_vocabulary(source, ["|", *LETTERS, "'"], pad_token="[PAD]", unk_token="[UNK]", word_delimiter_token="|")
    (source / "added_tokens.json").write_text(json.dumps({"[UNK]": 28, "[PAD]": 29, "<s>": 30, "</s>": 31}))
    vocabulary = front_end_of(source, tmp_path).vocabulary
    assert vocabulary.blank == 29
    assert json.loads((tmp_path / "imported/config.json").read_text())["pad_token_id"] == 29
    classes = [vocabulary.tokens.index(t) for t in ["h", "h", "[PAD]", "i", "|", "<s>", "y", "[UNK]", "o"]]
    assert vocabulary.decode(np.array(classes)) == "hi yo"
    assert vocabulary.spell("Don\u2019t \u2014 stop, Zo\u00eb!") == "don't stop zo\u00eb"
    assert vocabulary.unknown(["don't stop zo\u00eb"]) == {"\u00eb": 1}


def test_a_stray_mark_in_a_vocabulary_of_letters_changes_nothing(source, tmp_path):
    write_vocabulary(source, ["<pad>", "|", *LETTERS, "<unk>", "'", "<MASK>", "_"], pad_token="<pad>")
    vocabulary = front_end_of(source, tmp_path).vocabulary
    assert vocabulary.spell("HELLO, WORLD") == "hello world"
    assert not vocabulary.unknown(["hello world"])


def test_tokens_added_in_the_tokenizers_own_file(source, tmp_path):
    added = {str(index): {"content": token} for index, token in ((28, "<unk>"), (29, "<pad>"))}
    write_vocabulary(source, ["|", *LETTERS, "'"], pad_token={"content": "<pad>"}, added_tokens_decoder=added)
    edit(source / "config.json", vocab_size=32)
    vocabulary = front_end_of(source, tmp_path).vocabulary
    assert vocabulary.blank == 29
    assert vocabulary.tokens[30:] == ["<unused30>", "<unused31>"]
    assert vocabulary.decode(np.array([1, 30, 31, 2])) == "ab"


def test_phonemes_count_as_words(source, tmp_path):
    phonemes = ["<pad>", "<s>", "</s>", "<unk>", "t\u0283", "a\u026a", "n", "\u0259", *(f"x{i}" for i in range(24))]
    write_vocabulary(source, phonemes, pad_token="<pad>", word_delimiter_token=None)
    vocabulary = front_end_of(source, tmp_path).vocabulary
    assert vocabulary.delimiter is None
    assert vocabulary.decode(np.array([4, 4, 0, 5, 6, 3, 7])) == "t\u0283 a\u026a n \u0259"
    assert vocabulary.spell(" t\u0283  a\u026a n, ") == "t\u0283 a\u026a n,"
    assert vocabulary.unknown(["t\u0283 a\u026a n,"]) == {"n,": 1}


def test_characters_without_a_delimiter_stand_apart(source, tmp_path):
    characters = ["<pad>", "<unk>", *(chr(0x4E00 + i) for i in range(30))]
    write_vocabulary(source, characters, pad_token="<pad>", word_delimiter_token="|")
    vocabulary = front_end_of(source, tmp_path).vocabulary
    assert vocabulary.delimiter is None
    assert vocabulary.decode(np.array([2, 0, 3, 1, 4])) == "\u4e00 \u4e01 \u4e02"
    assert vocabulary.spell("\u4e00\u4e01 \u4e02\u3002") == "\u4e00 \u4e01 \u4e02"


def test_sentencepiece_units(source, tmp_path):
    write_vocabulary(source, ["<pad>", "\u2581", *LETTERS, "<unk>", "'", "-", "_"], pad_token="<pad>")
    vocabulary = front_end_of(source, tmp_path).vocabulary
    assert vocabulary.decode(np.array([1, 2, 1, 3, 4, 1])) == "a bc"
    assert vocabulary.spell("A bc.") == "a bc"
    settings = json.loads((tmp_path / "imported/tokenizer_config.json").read_text())
    delimiter = settings["word_delimiter_token"]  # from_pretrained of transformers 5.23 does not read it
    written = Wav2Vec2CTCTokenizer(str(tmp_path / "imported/vocab.json"), word_delimiter_token=delimiter)
    assert written.decode([1, 2, 1, 3, 4, 1]) == "a bc", "transformers does not decode what was imported alike"


def test_phonemes_are_taken_from_their_own_file(source, tmp_path):
    phonemes = ["<pad>", "<unk>", "t\u0283", *(f"x{i}" for i in range(29))]
    write_vocabulary(source, phonemes, pad_token="<pad>", word_delimiter_token=None)
    assert front_end_of(source, tmp_path).labels[0] == "phn"


def test_labels_that_do_not_exist_are_refused(source, tmp_path):
    import_checkpoint(str(source), tmp_path / "imported")
    edit(tmp_path / "imported/preprocessor_config.json", labels="km")
    with pytest.raises(StableQuantError, match=r"config\.json: 'labels' of 'km'; take one of wrd, ltr, phn"):
        read_front_end(tmp_path / "imported")


def test_a_space_as_delimiter(source, tmp_path):
    write_vocabulary(source, ["<pad>", " ", *LETTERS, "<unk>", "'", "-", "_"], pad_token="<pad>")
    vocabulary = front_end_of(source, tmp_path).vocabulary
    assert vocabulary.decode(np.array([2, 1, 1, 3])) == "a b"


@pytest.mark.parametrize(
    ("vocabulary", "tokenizer", "named"),
    [
        ({"eng": {"a": 0}, "fra": {"a": 0}}, {}, "2 languages"),
        ({}, {}, "does not exist or is empty"),
        ({"a": "0"}, {}, "classes 0, 1"),
        ({"a": 0, "<pad>": 99}, {"pad_token": "<pad>"}, "blank"),
    ],
)
def test_faulty_vocabularies_are_refused(source, tmp_path, vocabulary, tokenizer, named):
    (source / "vocab.json").write_text(json.dumps(vocabulary))
    (source / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    with pytest.raises(StableQuantError, match=named):
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
