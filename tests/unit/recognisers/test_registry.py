"""Which family a checkpoint is of, and what is said where that is none or two."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import DEMO, PROJECT
from seq2seq_files import known
from wav2vec2_files import ARCHITECTURES, tiny_model

from stablequant.errors import StableQuantError
from stablequant.recognisers import registry
from stablequant.recognisers.registry import families, family_named, family_of, family_of_config


class Other:
    """A family that claims what it is told to."""

    name = "other"
    kinds = ("moonshine",)

    def __init__(self, claimed: set[str], files: bool = False) -> None:
        self._claimed, self._files = claimed, files

    def claims(self, config: dict) -> bool:
        return config.get("model_type") in self._claimed

    def claims_file(self, path: Path) -> bool:
        return self._files


@pytest.fixture
def beside(monkeypatch):
    """Puts a family beside those there are."""
    return lambda other: monkeypatch.setattr(registry, "families", lambda: (other, *families()))


def write(folder: Path, **config) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_families_are_the_packages_with_a_family():
    assert [family.name for family in families()] == ["wav2vec2", "wav2vec2_bert", "whisper"]
    assert families()[0] is family_named("wav2vec2")
    packages = PROJECT / "stablequant/recognisers"
    assert {family.name for family in families()} == {file.parent.name for file in packages.glob("*/family.py")}


def test_a_package_beside_the_others_is_found_by_itself(tmp_path):
    with known():
        assert [family.name for family in families()] == ["tiny_seq2seq", "wav2vec2", "wav2vec2_bert", "whisper"]
        assert family_of(write(tmp_path, model_type="tiny-seq2seq")) is family_named("tiny_seq2seq")
    with pytest.raises(StableQuantError, match=r"\(tiny-seq2seq\) is not supported"):
        family_of(tmp_path)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_that_is_quantized_has_a_family(tmp_path, architecture):
    tiny_model(architecture).config.save_pretrained(tmp_path)
    assert family_of(tmp_path).name == "wav2vec2"


def test_an_unknown_architecture_is_named_with_what_is_known(tmp_path):
    folder = write(tmp_path, model_type="moonshine", architectures=["MoonshineForConditionalGeneration"])
    with pytest.raises(StableQuantError) as refusal:
        family_of(folder)
    assert str(refusal.value) == (
        f"{tmp_path}/config.json: MoonshineForConditionalGeneration (moonshine) is not supported; "
        "take a checkpoint of one of data2vec-audio, hubert, unispeech, unispeech-sat, wav2vec2, wav2vec2-bert, "
        "wav2vec2-conformer, wavlm, whisper"
    )


def test_what_is_known_are_the_kinds_of_all_families(tmp_path, beside):
    beside(Other(set()))
    with pytest.raises(StableQuantError, match=r"of one of data2vec-audio, .*, moonshine, .*, wavlm, whisper$"):
        family_of(write(tmp_path, model_type="bert"))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": None},
        {"model_type": "bert", "architectures": None},
        {"model_type": "bert", "architectures": []},
        {"model_type": "bert", "architectures": "BertModel"},
        {"architectures": {"0": "BertModel"}},
    ],
)
def test_a_config_that_names_no_architecture_is_refused_with_its_model_type(tmp_path, config):
    kind = config.get("model_type")
    with pytest.raises(StableQuantError, match=rf"a model of no named architecture \({kind}\) is not supported"):
        family_of(write(tmp_path, **config))


@pytest.mark.parametrize("kind", [["hubert"], {"hubert": 1}, 5, [[]], 1.5, True])
def test_a_model_type_of_another_kind_is_refused(tmp_path, kind):
    with pytest.raises(StableQuantError, match=r"config\.json: .*is not supported"):
        family_of(write(tmp_path, model_type=kind))


@pytest.mark.parametrize("named", [[5], [None], [["HubertForCTC"]]])
def test_an_architecture_of_another_kind_is_named_as_it_is(tmp_path, named):
    with pytest.raises(StableQuantError, match=rf"{re.escape(str(named[0]))} \(bert\) is not supported"):
        family_of(write(tmp_path, model_type="bert", architectures=named))


@pytest.mark.parametrize(
    ("kind", "architecture", "head"),
    [
        ("wav2vec2", "Wav2Vec2ForPreTraining", "ForCTC"),
        ("hubert", "HubertModel", "ForCTC"),
        ("wavlm", "WavLMForXVector", "ForCTC"),
        ("wav2vec2-bert", "Wav2Vec2BertModel", "ForCTC"),
        ("whisper", "WhisperForAudioClassification", "WhisperForConditionalGeneration"),
    ],
)
def test_a_base_model_is_refused_by_its_config_alone(tmp_path, kind, architecture, head):
    with pytest.raises(StableQuantError) as refusal:
        family_of(write(tmp_path, model_type=kind, architectures=[architecture]))
    assert str(refusal.value) == (
        f"{tmp_path}/config.json: {architecture} ({kind}) has no head that writes text: it is a base model, or made "
        f"for another task; take a checkpoint that was fine-tuned for speech recognition (...{head})"
    )


@pytest.mark.parametrize("source", ["absent", "absent/deeper"])
def test_a_source_without_a_config_is_refused(tmp_path, source):
    with pytest.raises(StableQuantError, match=rf"{source}/config\.json: the file does not exist; name the folder of"):
        family_of(tmp_path / source)


@pytest.mark.parametrize("content", ["[]", "null", "3", '["hubert"]'])
def test_a_config_that_is_no_object_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(StableQuantError, match=r"config\.json: not a model's configuration; restore it"):
        family_of(tmp_path)


def test_a_checkpoint_that_two_families_claim_is_refused_with_both(beside):
    beside(Other({"hubert"}))
    with pytest.raises(StableQuantError) as refusal:
        family_of(DEMO)
    assert str(refusal.value) == (
        f"{DEMO}/config.json: HubertForCTC (hubert) is claimed by the families other and wav2vec2; "
        "let only one of them claim it"
    )


def test_a_family_beside_takes_what_it_claims_alone(tmp_path, beside):
    other = Other({"moonshine"})
    beside(other)
    assert family_of(write(tmp_path, model_type="moonshine")) is other
    assert family_of(DEMO).name == "wav2vec2"
    assert family_of_config({"model_type": "moonshine"}, tmp_path) is other


def test_a_single_file_is_fairseqs(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"whatever")
    assert family_of(tmp_path / "checkpoint.pt").name == "wav2vec2"


def test_a_single_file_that_two_families_claim_is_refused_by_its_name(tmp_path, beside):
    (tmp_path / "checkpoint.pt").write_bytes(b"whatever")
    beside(Other(set(), files=True))
    with pytest.raises(StableQuantError) as refusal:
        family_of(tmp_path / "checkpoint.pt")
    assert str(refusal.value) == (
        f"{tmp_path}/checkpoint.pt: checkpoint.pt is claimed by the families other and wav2vec2; "
        "let only one of them claim it"
    )


def test_a_config_from_elsewhere_is_refused_by_the_place_it_was_read_from(tmp_path):
    with pytest.raises(StableQuantError, match=rf"^{tmp_path}/download\.json: .* \(moonshine\) is not supported"):
        family_of_config({"model_type": "moonshine"}, tmp_path / "download.json")


def test_a_family_is_found_without_torch():
    """The Snakefile does this at every start, and so does every engine's process."""
    code = f"""
import sys
from pathlib import Path
from stablequant.recognisers.registry import family_of
family = family_of(Path({str(DEMO)!r}))
print(family.name, family.sample_rate(Path({str(DEMO)!r})))
heavy = {{"torch", "transformers", "openvino", "onnxruntime", "onnx", "onnx_ir"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wav2vec2 16000\n"
