"""Checkpoints with adapters for languages, as MMS: one language is imported, and agrees with transformers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bert_files import write_tiny_bert
from calibrating import calibrate
from mms_files import LANGUAGES, by_transformers, write_tiny_mms
from recognising import Loaded, split_in, torch_network
from safetensors.torch import load_file, save_file
from wav2vec2_files import write_tiny_checkpoint

from stablequant.corpora.audio import read_audio
from stablequant.errors import StableQuantError
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.sources import checkpoint_files
from stablequant.search.probe_layer import probe_layers
from stablequant.storage.files import read_json


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mms")
    write_tiny_mms(folder)
    return folder


@pytest.fixture
def source(published, tmp_path) -> Path:
    return shutil.copytree(published, tmp_path / "source")


def written(logits: np.ndarray) -> np.ndarray:
    """Classes without tokens that are never written."""
    return np.where(np.isin(np.arange(logits.shape[1]), [1, 2, 3]), -np.inf, logits).argmax(axis=-1)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_is_recognised_as_by_transformers(tmp_path, demo_utterances, language, suffix):
    write_tiny_mms(tmp_path / "source", suffix)
    table = import_checkpoint(str(tmp_path / "source"), tmp_path / "imported", language)
    adapters = table[table["module"].str.contains("adapter_layer")]
    assert adapters["layer"].tolist() == ["transformer01"] * 2 + ["transformer02"] * 2
    assert adapters["inputs"].tolist() == [48, 16] * 2
    loaded = Loaded.load(tmp_path / "imported")
    assert loaded.front_end.vocabulary.tokens == LANGUAGES[language]
    assert loaded.model.lm_head.out_features == len(LANGUAGES[language])
    for utterance in demo_utterances[:2]:
        audio = read_audio(Path(utterance.path), 16_000).samples
        expected, words = by_transformers(tmp_path / "source", language, audio)
        found = torch_network(loaded.model)({"input_values": loaded.front_end.prepare(audio)[None]})["logits"][0]
        assert np.abs(found - expected).max() < 1e-4
        assert words and loaded.front_end.vocabulary.decode(written(found)) == words


def test_adapters_are_called_probed_and_quantized(published, tmp_path, demo_utterances):
    import_checkpoint(str(published), tmp_path / "imported", "eng")
    loaded = Loaded.load(tmp_path / "imported")
    calibrated = calibrate(loaded.recogniser(), split_in(loaded, demo_utterances[:4]), tmp_path)
    modules = [m for m in calibrated.of("transformer01") if "adapter_layer" in m.module]
    assert [m.activation for m in modules] == ["transformer01.adapter1", "transformer01.adapter2"]
    weights = fake_quantized_weights(loaded.model, modules, {})
    audio = torch.randn(1, 16_000)
    with torch.inference_mode():
        exact = loaded.model(audio).logits
        with fake_quantized(loaded.model, modules, calibrated.largest, {}, weights):
            assert (loaded.model(audio).logits - exact).abs().max() > 1e-4, "they are not part of what is simulated"
    recogniser, largest = calibrated.recogniser, calibrated.largest
    [probed] = probe_layers(recogniser, calibrated.modules, ["transformer01"], largest, calibrated.calibration, 0.25)
    assert probed.divergence > 0


@pytest.mark.parametrize(
    ("language", "named"),
    [
        ("azj", r"no language 'azj'; did you mean azj-script_latin or azj-script_cyrillic\?"),
        ("en", r"no language 'en'; did you mean eng\?"),
        ("xyz", r"no language 'xyz'; set 'target_lang' to one of eng, azj-script_latin, azj-script_cyrillic"),
        (None, r"vocabularies of 3 languages; set 'target_lang' of the model to one of them: eng, azj-script_latin"),
    ],
)
def test_a_language_that_is_lacking_or_missing_is_told(published, tmp_path, language, named):
    with pytest.raises(StableQuantError, match=rf"vocab\.json: {named}"):
        import_checkpoint(str(published), tmp_path / "imported", language)
    assert not (tmp_path / "imported").exists()


def test_a_language_for_a_checkpoint_without_adapters_is_refused(tmp_path):
    write_tiny_checkpoint(tmp_path / "source")
    write_tiny_bert(tmp_path / "bert")
    (tmp_path / "file.pt").write_bytes(b"")
    for source in (tmp_path / "source", tmp_path / "bert", tmp_path / "file.pt"):
        with pytest.raises(StableQuantError, match=r"no adapters for languages, but 'target_lang' is 'eng'; leave"):
            import_checkpoint(str(source), tmp_path / "imported", "eng")


def test_a_missing_adapter_is_named(source, tmp_path):
    (source / "adapter.eng.safetensors").unlink()
    with pytest.raises(StableQuantError, match=r"no adapter\.eng\.safetensors or adapter\.eng\.bin; complete"):
        import_checkpoint(str(source), tmp_path / "imported", "eng")


@pytest.mark.parametrize("damage", ["truncated", "another width", "no head", "a layer too few"])
def test_damaged_adapters_are_refused_by_the_files_name(source, tmp_path, damage):
    file = source / "adapter.eng.safetensors"
    weights = load_file(file)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "another width":
        save_file(weights | {"lm_head.weight": torch.zeros(32, 7)}, file)
    elif damage == "no head":
        save_file({n: v for n, v in weights.items() if not n.startswith("lm_head")}, file)
    else:
        save_file({n: v for n, v in weights.items() if ".layers.1." not in n}, file)
    with pytest.raises(StableQuantError, match=r"adapter\.eng\.safetensors: (its|the) weights "):
        import_checkpoint(str(source), tmp_path / "imported", "eng")


def test_what_was_imported_has_one_language(published, tmp_path):
    """It is imported again without naming it, and refuses any name."""
    import_checkpoint(str(published), tmp_path / "once", "azj-script_latin")
    import_checkpoint(str(tmp_path / "once"), tmp_path / "twice")
    for file in (tmp_path / "once").iterdir():
        assert file.read_bytes() == (tmp_path / "twice" / file.name).read_bytes(), file.name
    with pytest.raises(StableQuantError, match="a vocabulary of one language"):
        import_checkpoint(str(tmp_path / "once"), tmp_path / "thrice", "eng")


def test_a_fine_tune_whose_only_language_is_in_its_own_weights(source, tmp_path):
    """As the Trainer saves it: a nested vocabulary of one language, and no file for it."""
    for file in source.glob("adapter.*"):
        file.unlink()
    vocabulary = read_json(source / "vocab.json")
    (source / "vocab.json").write_text(json.dumps({"eng": vocabulary["eng"]}))
    import_checkpoint(str(source), tmp_path / "imported", "eng")
    kept = load_file(tmp_path / "imported/model.safetensors")
    stored = load_file(source / "model.safetensors")
    assert torch.equal(kept["lm_head.weight"], stored["lm_head.weight"])


def test_a_trainers_folder_takes_vocabulary_and_adapter_from_one_folder_up(source, tmp_path):
    inner = source / "checkpoint-500"
    inner.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.move(source / name, inner / name)
    import_checkpoint(str(inner), tmp_path / "imported", "azj-script_latin")
    assert read_json(tmp_path / "imported/config.json")["vocab_size"] == len(LANGUAGES["azj-script_latin"])


def test_only_the_languages_own_adapter_belongs_to_a_local_checkpoint(published):
    """Else the memory of its jobs would be estimated from the adapters of a thousand languages."""
    names = {Path(file).name for file in checkpoint_files(str(published), "eng")}
    assert "adapter.eng.safetensors" in names and "model.safetensors" in names
    assert not {name for name in names if "azj" in name}
    assert not {Path(f).name for f in checkpoint_files(str(published)) if "adapter." in f}
