"""Weights as trainings leave them: wrapped names, parameters that are missing or too many, switches in config.json."""

import json
from pathlib import Path

import pytest
import torch
from fairseq_files import fairseq_state, save, write_dictionary
from json_files import edit
from safetensors.torch import load_file, save_file
from wav2vec2_files import tiny_model, write_tiny_checkpoint

from stablequant.errors import StableQuantError
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.pretrained import bare_names
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


def rename(source: Path, layout, pickled: bool = False) -> dict[str, torch.Tensor]:
    file = source / "model.safetensors"
    weights = {layout(name): values for name, values in load_file(file).items()}
    if pickled:
        file.unlink()
        torch.save(weights, source / "pytorch_model.bin")
    else:
        save_file(weights, file, {"format": "pt"})
    return weights


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
