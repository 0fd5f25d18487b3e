"""fairseq's file format: read without fairseq, never executed, refused by name. Parity is tests/fairseq's."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq_files import TOKENS, fairseq_state, named_class, save, write_dictionary
from safetensors.torch import load_file
from wav2vec2_files import tiny_model

from stablequant.errors import StableQuantError
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.fairseq import parse_convolutions, read_fairseq
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.recognisers.wav2vec2.layers import layer_names
from stablequant.recognisers.wav2vec2.loading import load_model


@pytest.fixture
def folder(tmp_path) -> Path:
    write_dictionary(tmp_path / "dict.ltr.txt")
    return tmp_path


@pytest.mark.parametrize("architecture", ["hubert", "wav2vec2"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_weights_and_settings_are_the_models(folder, architecture, zipped):
    file = save(fairseq_state(architecture), folder / "checkpoint.pt", zipped)
    model, front_end = read_fairseq(file)
    audio = torch.randn(2, 16_000)
    with torch.inference_mode():
        assert torch.equal(model.eval()(audio).logits, tiny_model(architecture)(audio).logits)
    assert front_end.vocabulary.tokens == ["<pad>", "<s>", "</s>", "<unk>", *TOKENS]
    assert front_end.do_normalize == (architecture == "wav2vec2")


@pytest.mark.parametrize("architecture", ["hubert", "wav2vec2"])
def test_an_import_lists_the_layers_and_keeps_the_weights(folder, architecture):
    file = save(fairseq_state(architecture), folder / "checkpoint.pt")
    table = import_checkpoint(str(file), folder / "imported")
    assert table["layer"].unique().tolist() == layer_names(7, 2)
    audio = torch.randn(2, 16_000)
    with torch.inference_mode():
        difference = load_model(folder / "imported")(audio).logits - tiny_model(architecture)(audio).logits
    assert difference.abs().max() < 1e-5
    front_end = read_front_end(folder / "imported")
    assert front_end == read_fairseq(file)[1]
    assert front_end.epsilon == 1e-5, "fairseq's, not transformers'"


def test_settings_as_fairseq_writes_them_since_2021(folder):
    state = fairseq_state()
    args = state.pop("args")
    encoder = {**vars(args["w2v_args"]), "_name": "hubert"}
    state["args"] = None
    state["cfg"] = {
        "model": {"_name": "hubert_ctc", "w2v_args": {"model": encoder, "task": {"_name": "hubert_pretraining"}}},
        "task": {"_name": "hubert_pretraining", "labels": ["ltr"], "normalize": True},
    }
    _, front_end = read_fairseq(save(state, folder / "checkpoint.pt"))
    assert front_end.do_normalize


def test_half_precision_becomes_float32(folder, tmp_path):
    state = fairseq_state()
    state["model"] = {name: tensor.half() for name, tensor in state["model"].items()}
    import_checkpoint(str(save(state, folder / "checkpoint.pt")), tmp_path / "imported")
    weights = load_file(tmp_path / "imported/model.safetensors")
    assert {values.dtype for values in weights.values()} == {torch.float32}


def test_the_dictionary_inside_is_preferred(folder):
    dictionary = named_class("fairseq.data.dictionary.Dictionary")()
    dictionary.symbols = ["<s>", "<pad>", "</s>", "<unk>", *reversed(TOKENS)]
    state = fairseq_state() | {"task_state": {"target_dictionary": dictionary}}
    _, front_end = read_fairseq(save(state, folder / "checkpoint.pt"))
    assert front_end.vocabulary.tokens[4:] == TOKENS[::-1]


@pytest.mark.parametrize(
    ("labels", "tokens", "files"),
    [
        ("phn", ["t\u0283", "a\u026a", *(f"p{i}" for i in range(26))], ("phn",)),
        ("ltr", TOKENS, ("ltr", "wrd")),
        ("wrd", [f"WORD{i}" for i in range(28)], ("wrd", "ltr")),
        ("spm", ["\u2581", *TOKENS[1:]], ("wrd", "ltr", "phn")),
    ],
)
def test_transcripts_come_from_the_labels_of_the_checkpoint(tmp_path, labels, tokens, files):
    write_dictionary(tmp_path / f"dict.{labels}.txt", tokens)
    state = fairseq_state()
    state["args"]["labels"] = labels
    import_checkpoint(str(save(state, tmp_path / "checkpoint.pt")), tmp_path / "imported")
    front_end = read_front_end(tmp_path / "imported")
    assert tuple(front_end.labels) == files
    assert front_end.vocabulary.delimiter == {"ltr": "|", "spm": "\u2581"}.get(labels)
    assert front_end == read_fairseq(tmp_path / "checkpoint.pt")[1]


def test_sentencepiece_units_are_decoded_to_words(tmp_path):
    write_dictionary(tmp_path / "dict.ltr.txt", ["\u2581", *TOKENS[1:]])
    vocabulary = read_fairseq(save(fairseq_state(), tmp_path / "checkpoint.pt"))[1].vocabulary
    classes = [vocabulary.tokens.index(token) for token in ["\u2581", "A", "T", "\u2581", "H", "E"]]
    assert vocabulary.decode(np.array(classes)) == "AT HE"
    assert vocabulary.spell("at he.") == "AT HE"


def refused(file: Path, named: str) -> str:
    """The sentence with which an import refuses ``file``; it leaves nothing behind."""
    imported = file.with_name("refused")
    with pytest.raises(StableQuantError, match=named) as refusal:
        import_checkpoint(str(file), imported)
    assert not imported.exists()
    assert not list(file.parent.glob(".refused*"))
    sentence = str(refusal.value)
    assert sentence.startswith(str(file.parent)), "names no file"
    assert "\n" not in sentence
    return sentence


class Bomb:
    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, r"\w+\.system"), (eval, r"(builtins\.)?eval"), (os.mkdir, r"\w+\.mkdir")],
)
def test_a_malicious_checkpoint_is_refused_and_not_executed(folder, zipped, function, named):
    target = folder / "exploded"
    argument = {os.system: f"touch {target}", eval: f"open({str(target)!r}, 'w')", os.mkdir: str(target)}[function]
    file = save(fairseq_state() | {"extra_state": Bomb(function, argument)}, folder / "checkpoint.pt", zipped)
    sentence = refused(file, rf"checkpoint\.pt: it asks for {named}, which could run code; take a checkpoint")
    assert "weights_only" not in sentence, "advises to read it unrestricted"
    assert not target.exists()
    torch.load(file, weights_only=False)
    assert target.exists(), "the bomb is a dud and proves nothing"


def test_a_class_that_is_not_known_to_be_inert_is_refused_by_name(folder):
    state = fairseq_state() | {"extra_state": named_class("somebody.elses.Thing")()}
    refused(save(state, folder / "checkpoint.pt"), r"it asks for somebody\.elses\.Thing")


def changed(**settings) -> dict:
    state = fairseq_state()
    for key, value in settings.items():
        if key in vars(state["args"]["w2v_args"]) | {
            "layer_type": 0,
            "pos_conv_depth": 0,
            "_name": 0,
            "quantize_input": 0,
        }:
            setattr(state["args"]["w2v_args"], key, value)
        else:
            state["args"][key] = value
    return state


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"arch": "wav2vec_seq2seq"}, "kind 'wav2vec_seq2seq', without a CTC head"),
        ({"arch": "hubert"}, "kind 'hubert', without a CTC head"),
        ({"_name": "data2vec_audio"}, "encoder is 'data2vec_audio'"),
        ({"layer_type": "conformer"}, "layer_type: conformer"),
        ({"pos_conv_depth": 5}, "pos_conv_depth: 5"),
        ({"blank_weight": 2.0}, "blank_weight: 2.0"),
        ({"w2v_args": None}, "w2v_args"),
        ({"conv_feature_layers": "[(16, 10, 5)]"}, "do not fit"),
        ({"encoder_attention_heads": 5}, "do not fit"),
        ({"encoder_attention_heads": 0}, "do not fit"),
        ({"encoder_attention_heads": "4"}, "'encoder_attention_heads' is '4'"),
        ({"conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(99999999, 2, 2)] * 2"}, "do not fit"),
        ({"extractor_mode": "layer_norm"}, "do not fit"),
        ({"quantize_input": True}, "quantize_input: True"),
    ],
)
def test_other_models_are_refused_by_name(folder, settings, named):
    state = changed(**settings)
    if "arch" in settings:
        state["args"]["arch"] = settings["arch"]
    refused(save(state, folder / "checkpoint.pt"), named)


def test_a_pretrained_model_is_refused_by_what_is_in_it(folder):
    state = fairseq_state()
    prefix = "w2v_encoder.w2v_model."
    state["model"] = {name.removeprefix(prefix): t for name, t in state["model"].items() if name.startswith(prefix)}
    refused(save(state, folder / "checkpoint.pt"), r"parameter .* has no place in a hubert CTC model")


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda weights: weights.pop("w2v_encoder.proj.weight"), "lm_head.weight"),
        (lambda weights: weights.pop("w2v_encoder.w2v_model.encoder.layers.1.fc2.bias"), "do not fit"),
        (lambda weights: weights.update({"w2v_encoder.w2v_model.adapter.0": torch.ones(1)}), r"adapter\.0"),
        (lambda weights: weights.update({"decoder.embed.weight": torch.ones(1)}), r"decoder\.embed"),
        (lambda weights: weights.clear(), "lm_head.weight"),
        (lambda weights: weights.update({"w2v_encoder.proj.bias": "text"}), "is no tensor"),
        (lambda weights: weights.pop("w2v_encoder.w2v_model.feature_extractor.conv_layers.3.0.weight"), "not whole"),
        (lambda weights: weights.pop("w2v_encoder.w2v_model.encoder.pos_conv.0.weight_v"), "not whole"),
    ],
)
def test_weights_of_another_shape_are_refused(folder, edit, named):
    state = fairseq_state()
    edit(state["model"])
    refused(save(state, folder / "checkpoint.pt"), named)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, r"dict\.ltr\.txt: the file does not exist, and checkpoint\.pt holds no dictionary; put fairseq's"),
        ("A 1\nB 2\n", "6 symbols for the 32 classes"),
        ("A 1\nB\n", "line 2: 'B' is not 'symbol count'"),
        ("A 1\n" * 28, "5 symbols for the 32 classes"),
    ],
)
def test_faulty_dictionaries_are_refused(folder, text, named):
    file = save(fairseq_state(), folder / "checkpoint.pt")
    (folder / "dict.ltr.txt").unlink()
    if text is not None:
        (folder / "dict.ltr.txt").write_text(text)
    refused(file, named)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    file.write_text("not a checkpoint\n" * 100)


def archive(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("readme.txt", "not a checkpoint")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("damage", [truncate, empty, text, archive])
def test_damaged_files_are_refused_by_the_import(folder, zipped, damage):
    file = save(fairseq_state(), folder / "checkpoint.pt", zipped)
    damage(file)
    refused(file, r"checkpoint\.pt: .*; (restore|take)")


def test_convolutions_are_parsed_and_not_evaluated(tmp_path):
    published = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    layers = parse_convolutions(tmp_path, published)
    assert layers == eval(published)
    assert np.prod([stride for _, _, stride in layers]) == 320
    for hostile in (
        "__import__('os').mkdir('exploded')",
        "[(512, 3, 2)] * 1000000000000",
        "[(512, 3, 2)] * 10 ** 9",
        "[(512, 3)]",
        "[]",
        "[(0, 1, 1)]",
        "(" * 5000,
        "[" * 90 + "]" * 90,
    ):
        with pytest.raises(StableQuantError, match="not a list of layers"):
            parse_convolutions(tmp_path, hostile)
