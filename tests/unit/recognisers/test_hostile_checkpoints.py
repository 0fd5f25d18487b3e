"""Hostile checkpoints: refused by name, and nothing of them is executed."""

import io
import json
import pickle
import tempfile
from pathlib import Path

import pytest
import torch
from hostile import DAMAGE, MANY
from hypothesis import example, given
from hypothesis import strategies as st
from json_files import edit
from safetensors.torch import load_file
from wav2vec2_files import write_tiny_checkpoint
from whisper_files import write_tiny_whisper

from stablequant.errors import StableQuantError
from stablequant.recognisers import pretrained
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.unpickling import plain

MARK = Path(tempfile.mkdtemp()) / "was here"  # what a checkpoint that is executed leaves


class Evil:
    def __reduce__(self):
        return (MARK.write_text, ("x",))


def checkpoint_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


STATES = [
    checkpoint_bytes({"model": {"w2v_encoder.proj.weight": torch.zeros(4, 4)}, "args": None, "cfg": None}),
    checkpoint_bytes({"model": {}, "cfg": {"model": {"_name": "wav2vec_ctc"}}}),
    pickle.dumps({"model": [1, 2, 3]}),
    checkpoint_bytes({"model": {"x": Evil()}}),
    pickle.dumps(Evil()),
]


@MANY
@given(state=st.sampled_from(STATES), damage=st.one_of(st.just([]), DAMAGE), kept=st.floats(0.01, 1))
@example(state=STATES[2], damage=[(0.0, 71)], kept=0.125)  # struct.error
def test_a_checkpoint_is_refused_and_runs_nothing(tmp_path, state, damage, kept):
    content = bytearray(state)
    for spot, value in damage:
        content[int(spot * len(content))] = value
    del content[int(kept * len(content)) + 1 :]
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(bytes(content))
    with pytest.raises(StableQuantError, match=r"^\S*checkpoint\.pt: [^\n]*; [^\n]*$"):
        import_checkpoint(str(file), tmp_path / "imported")
    assert not MARK.exists()
    assert not (tmp_path / "imported").exists()


def test_settings_that_name_one_list_again_and_again_are_refused():
    shared: list = []
    for _ in range(40):
        shared = [shared, shared]
    with pytest.raises(ValueError, match="settings"):
        plain({"model": shared})


@pytest.mark.parametrize(
    ("write", "change"),
    [
        (write_tiny_checkpoint, {"intermediate_size": 10**6}),
        (write_tiny_checkpoint, {"num_hidden_layers": 200}),
        (write_tiny_checkpoint, {"vocab_size": 10**6}),
        (write_tiny_whisper, {"decoder_ffn_dim": 2**20}),
        (write_tiny_whisper, {"vocab_size": 2**20}),
    ],
)
@pytest.mark.parametrize("stored", ["safetensors", "pickled", "shards"])
def test_a_config_for_more_weights_than_the_files_hold_takes_no_memory(tmp_path, monkeypatch, write, change, stored):
    """transformers would take it before it compares the sizes."""
    source = tmp_path / "source"
    write(source)
    edit(source / "config.json", **change)
    weights = source / "model.safetensors"
    if stored == "pickled":
        torch.save(load_file(weights), source / "pytorch_model.bin")
        weights.unlink()
    elif stored == "shards":
        names = dict.fromkeys(load_file(weights), "model-00001-of-00001.safetensors")
        weights.rename(source / "model-00001-of-00001.safetensors")
        (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    monkeypatch.setattr(pretrained, "from_pretrained", lambda *_, **__: pytest.fail("the weights are loaded"))
    with pytest.raises(
        StableQuantError, match=r"config\.json: its network has more weights .* than the files have bytes"
    ):
        import_checkpoint(str(source), tmp_path / "imported")


def test_a_shard_that_is_missing_is_named(source, tmp_path):
    names = dict.fromkeys(load_file(source / "model.safetensors"), "model-00001-of-00001.safetensors")
    (source / "model.safetensors").unlink()
    (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    with pytest.raises(StableQuantError, match=r"model-00001-of-00001\.safetensors: the file does not exist"):
        import_checkpoint(str(source), tmp_path / "imported")


def test_a_folder_without_weights_is_refused(source, tmp_path):
    (source / "model.safetensors").unlink()
    with pytest.raises(StableQuantError, match=r"source: the weights cannot be read: no model\.safetensors or pytor"):
        import_checkpoint(str(source), tmp_path / "imported")
    (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {}}))
    with pytest.raises(StableQuantError, match=r"source: the weights cannot be read: no model\.safetensors or pytor"):
        import_checkpoint(str(source), tmp_path / "imported")
