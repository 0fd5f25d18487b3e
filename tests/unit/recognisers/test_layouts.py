"""Folders as trainings leave them: wrapped names of weights, switches in config.json, a processor one folder up."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq_files import fairseq_state, save, write_dictionary
from json_files import edit
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor
from wav2vec2_files import tiny_model, write_tiny_checkpoint

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.pretrained import bare_names
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.sources import checkpoint_files
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.recognisers.wav2vec2.loading import load_model

LAYOUTS = {  # what a wrapper makes of a name
    "data parallel": lambda name: f"module.{name}",
    "compiled": lambda name: f"_orig_mod.{name}",
    "lightning": lambda name: f"model.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "encoder alone": lambda name: name.replace("hubert.", "hubert._orig_mod."),
    "each layer": lambda name: name.replace("layers.1.", "layers.1._checkpoint_wrapped_module."),
    "without the encoder's name": lambda name: f"module.{name.removeprefix('hubert.')}",
    "of 2021": lambda name: f"module.{name}".replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    ),
}


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "source"
    write_tiny_checkpoint(folder)
    return folder


def rename(source: Path, layout, pickled: bool = False) -> dict[str, torch.Tensor]:
    file = source / "model.safetensors"
    weights = {layout(name): values for name, values in load_file(file).items()}
    if pickled:
        file.unlink()
        torch.save(weights, source / "pytorch_model.bin")
    else:
        save_file(weights, file, {"format": "pt"})
    return weights


def vocabulary_of(source: Path) -> Vocabulary:
    import_checkpoint(str(source), source.parent / "imported")
    return read_front_end(source.parent / "imported").vocabulary


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_wrapped_names_of_weights(source, tmp_path, layout, pickled):
    import_checkpoint(str(source), tmp_path / "plain")
    rename(source, layout, pickled)
    import_checkpoint(str(source), tmp_path / "imported")
    for file in (tmp_path / "plain").iterdir():
        assert (tmp_path / "imported" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("pickled", [False, True])
def test_wrapped_names_in_shards(source, tmp_path, pickled):
    import_checkpoint(str(source), tmp_path / "plain")
    weights = rename(source, LAYOUTS["both"])
    (source / "model.safetensors").unlink()
    stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    where = {name: f"{stem}-{i % 2 + 1:05}-of-00002.{suffix}" for i, name in enumerate(weights)}
    for file in set(where.values()):
        shard = {name: values for name, values in weights.items() if where[name] == file}
        torch.save(shard, source / file) if pickled else save_file(shard, source / file, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (source / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    import_checkpoint(str(source), tmp_path / "imported")
    files = (tmp_path / "plain/model.safetensors", tmp_path / "imported/model.safetensors")
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_of_a_folder_is_refused_with_its_folder(source, tmp_path, name):
    rename(source, str, pickled=name.endswith(".bin"))
    with pytest.raises(
        StableQuantError, match=rf"{name}: the weights of a Hugging Face checkpoint.*; name its folder, {source}$"
    ):
        import_checkpoint(str(source / name), tmp_path / "imported")


@pytest.mark.parametrize("spelling", ["module.lm_head.weight", "_orig_mod.model.lm_head.weight"])
def test_two_spellings_of_one_tensor_are_refused(source, tmp_path, spelling):
    file = source / "model.safetensors"
    weights = load_file(file)
    save_file(weights | {spelling: weights["lm_head.weight"] + 1}, file, {"format": "pt"})
    with pytest.raises(StableQuantError, match=rf"hold lm_head\.weight twice, as (lm_head\.weight|{spelling}) and as"):
        import_checkpoint(str(source), tmp_path / "imported")


def test_only_names_that_fit_better_without_a_wrapper_are_changed():
    assert bare_names(Path("x"), ["model.head.weight"], {"model.head.weight", "head.weight"}, "") == {}
    assert bare_names(Path("x"), ["model.other.weight"], {"head.weight"}, "") == {}
    assert bare_names(Path("x"), ["model.head.weight"], {"head.weight"}, "") == {"model.head.weight": "head.weight"}


@pytest.mark.parametrize(
    "wrap", [lambda name: f"module.{name}", lambda name: name.replace("model.enc", "model.module.enc")]
)
def test_wrapped_names_in_a_file_of_fairseq(tmp_path, wrap):
    state = fairseq_state()
    state["model"] = {wrap(name): values for name, values in state["model"].items()}
    write_dictionary(tmp_path / "dict.ltr.txt")
    import_checkpoint(str(save(state, tmp_path / "wrapped.pt")), tmp_path / "imported")
    audio = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(load_model(tmp_path / "imported")(audio).logits, tiny_model()(audio).logits)

    state["model"]["w2v_encoder.proj.bias"] = state["model"][wrap("w2v_encoder.proj.bias")]
    state["model"]["module.w2v_encoder.proj.bias"] = state["model"]["w2v_encoder.proj.bias"] + 1
    with pytest.raises(StableQuantError, match=r"it holds w2v_encoder\.proj\.bias twice"):
        import_checkpoint(str(save(state, tmp_path / "wrapped.pt")), tmp_path / "imported")


@pytest.mark.parametrize(
    "switch",
    [
        {"return_dict": False},
        {"use_return_dict": False},
        {"output_attentions": True},
        {"output_hidden_states": True},
        {"torchscript": True},
        {"attn_implementation": "flash_attention_2"},
        {"_attn_implementation": "flash_attention_2"},
        {"auto_map": {"AutoModelForCTC": "modeling.Other"}},
    ],
    ids=lambda switch: next(iter(switch)),
)
@pytest.mark.parametrize("architecture", ["hubert", "wavlm"])
def test_switches_do_not_survive_the_import(tmp_path, switch, architecture):
    write_tiny_checkpoint(tmp_path / "source", architecture)
    import_checkpoint(str(tmp_path / "source"), tmp_path / "plain")
    edit(tmp_path / "source/config.json", **switch)
    import_checkpoint(str(tmp_path / "source"), tmp_path / "imported")
    for file in (tmp_path / "plain").iterdir():
        assert (tmp_path / "imported" / file.name).read_bytes() == file.read_bytes(), file.name
    with torch.inference_mode():
        assert load_model(tmp_path / "imported")(torch.randn(1, 4000)).logits.shape == (1, 12, 32)


def test_a_head_without_bias(source, tmp_path):
    file = source / "model.safetensors"
    save_file({n: w for n, w in load_file(file).items() if n != "lm_head.bias"}, file, {"format": "pt"})
    import_checkpoint(str(source), tmp_path / "imported")
    assert not load_model(tmp_path / "imported").lm_head.bias.any()


@pytest.mark.parametrize("architecture", ["conformer-relative", "conformer-rotary"])
def test_what_a_conformer_never_reads_may_be_missing(tmp_path, architecture):
    source = tmp_path / "source"
    write_tiny_checkpoint(source, architecture)
    import_checkpoint(str(source), tmp_path / "plain")
    weights = load_file(source / "model.safetensors")
    kept = {n: w for n, w in weights.items() if "pos_conv_embed" not in n and "num_batches_tracked" not in n}
    assert len(kept) < len(weights)
    save_file(kept, source / "model.safetensors", {"format": "pt"})
    import_checkpoint(str(source), tmp_path / "imported")
    audio = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, two = (load_model(tmp_path / name)(audio).logits for name in ("plain", "imported"))
    assert torch.equal(one, two)
    del kept[next(name for name in kept if name.endswith("running_var"))]
    save_file(kept, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(StableQuantError, match=r"the checkpoint lacks \S+running_var"):
        import_checkpoint(str(source), tmp_path / "again")


@pytest.mark.parametrize(
    "more", ["hubert.encoder.layers.2.final_layer_norm.bias", "hubert.encoder.layers.0.adapter_layer.norm.bias"]
)
def test_layers_that_the_config_does_not_know_are_refused(source, tmp_path, more):
    """transformers would leave them out without an error."""
    file = source / "model.safetensors"
    save_file(load_file(file) | {more: torch.zeros(3)}, file, {"format": "pt"})
    with pytest.raises(StableQuantError, match=rf"hold {more} and 0 more, for which config\.json has no place"):
        import_checkpoint(str(source), tmp_path / "imported")


def test_parameters_of_the_pre_training_may_remain(source, tmp_path):
    file = source / "model.safetensors"
    save_file(load_file(file) | {"quantizer.codevectors": torch.zeros(3)}, file, {"format": "pt"})
    import_checkpoint(str(source), tmp_path / "imported")


def test_quantized_weights_are_refused(source, tmp_path):
    edit(source / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(StableQuantError, match=r"config\.json: its weights are already quantized"):
        import_checkpoint(str(source), tmp_path / "imported")


# Where the processor lies


def trainers_folder(root: Path, together: bool) -> Path:
    """A Trainer's ``checkpoint-500``; ``together`` as transformers 5 writes the processor above it."""
    folder = root / "checkpoint-500"
    write_tiny_checkpoint(folder)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    if together:
        Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))).save_pretrained(root)
        assert not (root / "preprocessor_config.json").exists()
    else:
        extractor.save_pretrained(root)
        (root / "vocab.json").write_text((folder / "vocab.json").read_text())
    (folder / "vocab.json").unlink()
    (folder / "preprocessor_config.json").unlink()
    (folder / "training_args.bin").write_bytes(b"x")
    return folder


@pytest.mark.parametrize("together", [False, True])
def test_the_processor_of_a_trainers_folder_lies_one_folder_up(tmp_path, monkeypatch, together):
    folder = trainers_folder(tmp_path / "run", together)
    import_checkpoint(str(folder), tmp_path / "imported")
    front_end = read_front_end(tmp_path / "imported")
    assert (front_end.do_normalize, front_end.vocabulary.delimiter) == (False, "|")
    listed = {Path(file).resolve() for file in checkpoint_files(str(folder))}
    assert {tmp_path / "run/vocab.json", folder / "config.json"} <= listed
    monkeypatch.chdir(folder)
    import_checkpoint(".", tmp_path / "here")
    assert {Path(file).resolve() for file in checkpoint_files(".")} == listed


def test_the_processor_beside_the_model_comes_first(tmp_path):
    folder = trainers_folder(tmp_path / "run", together=False)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    import_checkpoint(str(folder), tmp_path / "imported")
    assert read_front_end(tmp_path / "imported").do_normalize


def test_above_other_folders_nothing_is_looked_for(tmp_path):
    folder = trainers_folder(tmp_path / "run", together=False).rename(tmp_path / "run/final")
    with pytest.raises(StableQuantError, match=r"final/preprocessor_config\.json: the file does not exist"):
        import_checkpoint(str(folder), tmp_path / "imported")
    assert all(Path(file).parent == folder for file in checkpoint_files(str(folder)))


def test_a_folder_of_checkpoints_is_refused_with_the_newest(tmp_path):
    for steps in (500, 1000):
        (tmp_path / f"checkpoint-{steps}").mkdir()
        (tmp_path / f"checkpoint-{steps}/config.json").write_text("{}")
    with pytest.raises(StableQuantError, match=r"config\.json: .* such as \S+/checkpoint-1000$"):
        family_of(tmp_path)


def test_an_adapter_of_peft_is_refused_by_its_name(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(StableQuantError, match="PEFT: merge it into its model"):
        family_of(tmp_path)


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


# Vocabularies


def test_a_vocabulary_of_another_model_is_refused(source, tmp_path):
    edit(source / "vocab.json", **{"<mask>": 32})
    assert len(vocabulary_of(source).tokens) == 32
    edit(source / "vocab.json", **{"\u00df": 33})
    with pytest.raises(StableQuantError, match=r"vocab\.json: class 3[23] is '\S+', but the model has only 32 classes"):
        import_checkpoint(str(source), tmp_path / "imported")


@pytest.mark.parametrize("named", [{"pad_token": "[PAD]"}, {"pad_token": {"content": "[PAD]", "special": True}}])
def test_old_files_name_the_pad_token_in_the_map_of_special_tokens(source, named):
    tokens = [*"abcdefghijklmnopqrstuvwxyz|", "<pad>", "[UNK]", "[PAD]", "-", "'"]
    (source / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (source / "special_tokens_map.json").write_text(json.dumps(named))
    edit(source / "tokenizer_config.json", pad_token="<pad>", word_delimiter_token="|")
    assert vocabulary_of(source).blank == tokens.index("[PAD]")
    assert str(AutoTokenizer.from_pretrained(source).pad_token) == "[PAD]"


def test_the_vocabulary_comes_before_added_tokens(source):
    (source / "added_tokens.json").write_text(json.dumps({"<other>": 5}))
    tokens = json.loads((source / "vocab.json").read_text())
    assert vocabulary_of(source).tokens == sorted(tokens, key=tokens.__getitem__)


def test_lower_case_output(source, tmp_path):
    edit(source / "tokenizer_config.json", do_lower_case=True)
    vocabulary = vocabulary_of(source)
    classes = np.random.default_rng(0).choice(np.arange(4, 32), 50)
    theirs = AutoTokenizer.from_pretrained(source).decode(classes)
    assert vocabulary.decode(classes) == " ".join(theirs.split())
    assert vocabulary.decode(classes).islower()
    tokens = json.loads((source / "vocab.json").read_text())
    tokens["e"] = tokens.pop("Z")
    (source / "vocab.json").write_text(json.dumps(tokens))
    with pytest.raises(StableQuantError, match="letters differ only in their case"):
        import_checkpoint(str(source), tmp_path / "again")


def test_features_of_several_numbers_are_refused(source, tmp_path):
    (source / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80, "sampling_rate": 16000}))
    with pytest.raises(StableQuantError, match=r"feature_size 80\) does not take raw audio"):
        import_checkpoint(str(source), tmp_path / "imported")
