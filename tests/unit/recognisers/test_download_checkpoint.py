"""Checkpoints on the hub, served on loopback over HTTP.

Each runs in a process of its own, because the hub's address is read when its library is imported.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hub import serving
from json_files import edit
from mms_files import write_tiny_mms
from recognising import torch_network
from tokenizers import Tokenizer
from transformers import AutoModelForCTC
from wav2vec2_files import write_tiny_checkpoint
from whisper_files import split_tokenizer, write_tiny_whisper

from stablequant.errors import StableQuantError
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.loading import load_model

IMPORT = """
import sys
from pathlib import Path
from stablequant.recognisers.import_checkpoint import import_checkpoint
import_checkpoint('owner/tiny', Path(sys.argv[1]))
"""
DOWNLOAD = """
import json
from stablequant.recognisers.download_checkpoint import download_checkpoint
from stablequant.recognisers.registry import heads_by_kind
print(json.dumps(download_checkpoint({!r}, None, heads_by_kind())))
"""


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "source"
    write_tiny_checkpoint(folder)
    (folder / "tf_model.h5").write_bytes(b"of no use here")
    return folder


def use_pickled_weights(source: Path) -> None:
    torch.save(AutoModelForCTC.from_pretrained(source).state_dict(), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_checkpoint_on_the_hub_is_imported(source, tmp_path, weights):
    if weights.endswith(".bin"):
        use_pickled_weights(source)
    with serving(source, "owner/tiny") as hub:
        done = hub.python(IMPORT, tmp_path / "imported")
        assert done.returncode == 0, done.stderr
        assert f"/owner/tiny/resolve/{hub.revision}/{weights}" in hub.requested
        assert not [path for path in hub.requested if path.endswith(".h5")]
    audio = {"input_values": np.random.default_rng(0).standard_normal((2, 16_000), dtype=np.float32)}
    expected = torch_network(AutoModelForCTC.from_pretrained(source).eval())(audio)["logits"]
    assert np.abs(torch_network(load_model(tmp_path / "imported"))(audio)["logits"] - expected).max() < 1e-5


def test_safetensors_are_preferred_to_pickled_weights(source):
    (source / "pytorch_model.bin").write_bytes(b"of no use here")
    with serving(source, "owner/tiny") as hub:
        done = hub.python(DOWNLOAD.format("owner/tiny"))
        assert done.returncode == 0, done.stderr
        assert not [path for path in hub.requested if path.endswith(".bin")]


def test_other_copies_of_the_weights_are_not_downloaded(source):
    """As in openai/whisper-large-v3, which holds its weights in float16, in float32 and pickled."""
    for name in ("model.fp32-00001-of-00002.safetensors", "pytorch_model.fp32-00001-of-00002.bin", "pytorch_model.bin"):
        (source / name).write_bytes(b"of no use here")
    with serving(source, "owner/tiny") as hub:
        done = hub.python(DOWNLOAD.format("owner/tiny"))
    assert done.returncode == 0, done.stderr
    fetched = {path.rpartition("/")[2] for path in hub.requested if path.endswith((".safetensors", ".bin"))}
    assert fetched == {"model.safetensors"}


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_downloaded(source, suffix):
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    (source / "model.safetensors").unlink()
    shards = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    for name in (*shards, f"{stem}.{suffix}.index.json"):
        (source / name).write_text("{}")
    with serving(source, "owner/tiny") as hub:
        done = hub.python(DOWNLOAD.format("owner/tiny"))
    assert done.returncode == 0, done.stderr
    assert {f"/owner/tiny/resolve/{hub.revision}/{name}" for name in shards} <= set(hub.requested)
    files = [file for file in source.iterdir() if file.suffix != ".h5"]
    assert json.loads(done.stdout)["bytes"] == sum(file.stat().st_size for file in files)


def test_a_tokenizer_in_several_files_is_downloaded_whole(tmp_path):
    source = tmp_path / "source"
    write_tiny_whisper(source)
    whole = Tokenizer.from_file(str(source / "tokenizer.json"))
    split_tokenizer(source)
    with serving(source, "owner/tiny") as hub:
        done = hub.python(IMPORT, tmp_path / "imported")
    assert done.returncode == 0, done.stderr
    found = Tokenizer.from_file(str(tmp_path / "imported/tokenizer.json"))
    assert found.get_vocab() == whole.get_vocab()
    assert found.encode("two words", add_special_tokens=False).ids == whole.encode("two words").ids
    (source / "merges.txt").unlink()
    with pytest.raises(StableQuantError, match=r"neither tokenizer\.json nor both vocab\.json and"):
        import_checkpoint(str(source), tmp_path / "without")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_of_the_adapters_for_languages_only_one_is_downloaded(tmp_path, suffix):
    source = tmp_path / "source"
    write_tiny_mms(source, suffix)
    with serving(source, "owner/tiny") as hub:
        done = hub.python(IMPORT.replace("sys.argv[1])", "sys.argv[1]), 'azj-script_latin'"), tmp_path / "imported")
        assert done.returncode == 0, done.stderr
        adapters = [path for path in hub.requested if "/adapter." in path]
        assert set(adapters) == {f"/owner/tiny/resolve/{hub.revision}/adapter.azj-script_latin.{suffix}"}
    assert json.loads((tmp_path / "imported/config.json").read_text())["vocab_size"] == 36


@pytest.mark.parametrize("identifier", ["owner/tiny", "owner/tiny@main"])
def test_the_exact_revision_the_size_and_the_config_are_what_the_hub_gave(source, identifier):
    """Worked by hand from the files that the hub serves; the file that is not downloaded does not count."""
    with serving(source, "owner/tiny") as hub:
        done = hub.python(DOWNLOAD.format(identifier))
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["source"] == f"owner/tiny@{hub.revision}"
    assert found["bytes"] == sum(file.stat().st_size for file in source.iterdir() if file.suffix != ".h5")
    assert found["config"] == json.loads((source / "config.json").read_text())


def test_a_name_that_the_hub_does_not_know_is_refused(source):
    with serving(source, "owner/tiny") as hub:
        done = hub.python(DOWNLOAD.format("owner/absent"))
    assert done.returncode == 1
    assert "StableQuantError: owner/absent: cannot be downloaded from the hub" in done.stderr


def test_of_a_base_model_no_weights_are_downloaded(source):
    edit(source / "config.json", architectures=["HubertModel"])
    with serving(source, "owner/tiny") as hub:
        done = hub.python(DOWNLOAD.format("owner/tiny"))
        assert not [path for path in hub.requested if path.endswith((".safetensors", ".bin"))]
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "owner/tiny, config.json: HubertModel (hubert) has no head that writes text" in last
    assert "fine-tuned for speech recognition (...ForCTC)" in last


@pytest.mark.parametrize("content", [None, "[]", "{"])
def test_a_repository_without_a_readable_config_is_refused(source, content):
    (source / "config.json").unlink()
    if content is not None:
        (source / "config.json").write_text(content)
    with serving(source, "owner/tiny") as hub:
        done = hub.python(DOWNLOAD.format("owner/tiny"))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "StableQuantError" in last
    assert "config.json: " in last
