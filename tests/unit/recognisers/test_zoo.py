"""Twins of published checkpoints: they are imported, and agree with transformers in logits and words."""

import re

import numpy as np
import pytest
import torch
import yaml
from checkout import PROJECT
from fairseq_files import TOKENS, fairseq_state, save, write_dictionary
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer
from wav2vec2_files import tiny_model
from zoo.catalogue import NAMES, ZOO
from zoo.fairseq import FAIRSEQ
from zoo.languages import MMS_ALIGNER
from zoo.shared_settings import LIBRISPEECH
from zoo.twin import Published, clips

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.recogniser import HIDDEN
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.recognisers.wav2vec2.loading import load_model
from stablequant.recognisers.wav2vec2.memory import tolerates_padding


def words(text: str, apart: bool) -> str:
    """``text`` without what only the form of writing decides; ``apart`` if the recogniser separates characters."""
    return "".join(text.split()) if apart else " ".join(text.split())


@pytest.mark.parametrize("published", ZOO, ids=lambda published: published.name)
@torch.inference_mode()
def test_a_twin_agrees_with_transformers(published: Published, tmp_path):
    source, imported = published.write(tmp_path / "source"), tmp_path / "imported"
    import_checkpoint(str(source), imported)
    theirs = AutoModelForCTC.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    extract, tokenizer = AutoFeatureExtractor.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    recogniser, front_end = load_recogniser(imported), read_front_end(imported)
    apart = front_end.vocabulary.delimiter is None and "Phoneme" not in type(tokenizer).__name__

    alone = []
    for clip in clips():
        values = extract(clip, sampling_rate=16_000, return_tensors="pt").input_values
        prepared = front_end.prepare(clip)[None]
        np.testing.assert_allclose(prepared, values, atol=1e-5)
        expected = theirs(values).logits
        found = recogniser.logits(recogniser.enter({HIDDEN: prepared}), 0, recogniser.context([len(clip)]))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        best = expected[0].argmax(-1)
        written = words(front_end.vocabulary.decode(best.numpy()), apart)
        assert written == words(tokenizer.decode(best), apart)
        alone.append(expected[0])
    assert len(set(torch.cat(alone).argmax(-1).tolist())) > 1, "such words prove nothing"

    used = [c for c in range(theirs.config.vocab_size) if c not in published.silent(published.settings)]
    classes = np.random.default_rng(1).choice(used, 300)
    written = words(front_end.vocabulary.decode(classes), apart)
    assert written == words(tokenizer.decode(classes), apart)
    assert len(set(written)) > 5

    if tolerates_padding(theirs.config.to_dict()):
        batch = extract(clips(), sampling_rate=16_000, padding=True, return_attention_mask=True, return_tensors="pt")
        expected = theirs(**batch).logits
        context = recogniser.context([len(clip) for clip in clips()])
        rows = recogniser.logits(recogniser.enter({HIDDEN: batch.input_values.numpy()}), 0, context)
        for row, ours, one in zip(expected, context.rows(rows), alone, strict=True):
            np.testing.assert_allclose(ours, row[: len(ours)], atol=1e-4, rtol=1e-4)
            np.testing.assert_allclose(ours, one, atol=1e-3, rtol=1e-3)


def test_an_aligner_without_a_preprocessor_is_refused_and_its_blank_is_not_its_pad_token(tmp_path):
    source = MMS_ALIGNER.write(tmp_path / "source")
    with pytest.raises(StableQuantError, match=r"preprocessor_config\.json: the file does not exist"):
        import_checkpoint(str(source), tmp_path / "imported")
    AutoFeatureExtractor.from_pretrained(
        NAMES["facebook/wav2vec2-large-960h-lv60-self"].write(tmp_path / "other")
    ).save_pretrained(source)
    import_checkpoint(str(source), tmp_path / "imported")
    vocabulary = read_front_end(tmp_path / "imported").vocabulary
    assert (vocabulary.blank, vocabulary.tokens[0]) == (0, "<blank>")
    assert vocabulary.decode(np.array([4, 0, 4, 1, 5])) == "a a i"


@pytest.mark.parametrize("name", FAIRSEQ)
@torch.inference_mode()
def test_a_twin_of_a_published_file_of_fairseq(name, tmp_path):
    architecture, settings = FAIRSEQ[name]
    file = save(fairseq_state(architecture, **settings), tmp_path / name)
    write_dictionary(tmp_path / "dict.ltr.txt", TOKENS)
    import_checkpoint(str(file), tmp_path / "imported")
    values = torch.from_numpy(np.stack([clip[:2000] for clip in clips()]))
    expected = tiny_model(architecture, **settings)(values).logits
    torch.testing.assert_close(load_model(tmp_path / "imported")(values).logits, expected, atol=1e-5, rtol=1e-5)
    front_end = read_front_end(tmp_path / "imported")
    assert front_end.vocabulary.tokens == LIBRISPEECH
    assert front_end.do_normalize == (settings["feat_extract_norm"] == "layer")


def test_presets_name_checkpoints_of_the_zoo():
    for preset in (PROJECT / "presets").glob("*.yaml"):
        text = preset.read_text()
        (checkpoint,) = [model["checkpoint"] for model in yaml.safe_load(text)["models"].values() if model]
        if checkpoint.startswith("openai/"):
            assert checkpoint == f"openai/{preset.stem.removesuffix('-librispeech')}"
            continue
        published = NAMES[checkpoint]
        (file,) = re.findall(r"/models/(\w+\.pt)", text)
        architecture, settings = FAIRSEQ[file]
        for key, value in settings.items():
            assert published.settings[key] == value, (preset.name, key)
        assert published.settings["model_type"] == architecture
        assert ("group norm" in text) == (published.settings["feat_extract_norm"] == "group")
        assert published.tokens == LIBRISPEECH
