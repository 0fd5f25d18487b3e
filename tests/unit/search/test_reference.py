"""Posteriors of fp32 on disk: all of them, or of many classes only the likeliest."""

import numpy as np
import pytest

from stablequant.corpora.utterance import Utterance
from stablequant.recognisers.recogniser import Recognised
from stablequant.scoring.divergence import divergence
from stablequant.scoring.word_errors import WordErrors
from stablequant.search.reference import KEPT_CLASSES, MOST_CLASSES, Reference, names_of, write_posteriors
from stablequant.storage.arrays import ArrayReader, writing_arrays

UTTERANCE = Utterance("a", "a.wav", 1, "x", "")


def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores - scores.max(axis=1, keepdims=True)
    return (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).astype(np.float32)


def stored(folder, exact: np.ndarray) -> Reference:
    with writing_arrays(folder / "posteriors.safetensors", names_of(UTTERANCE)) as file:
        write_posteriors(file, UTTERANCE, exact)
    errors = WordErrors(np.array([0]), np.array([1]))
    return Reference(errors, ArrayReader(folder / "posteriors.safetensors"), {}, "float32")


@pytest.mark.parametrize("classes", [32, MOST_CLASSES])
def test_few_classes_are_stored_exactly(tmp_path, classes):
    draw = np.random.default_rng(0)
    exact, found = (log_softmax(draw.normal(size=(7, classes))) for _ in range(2))
    reference = stored(tmp_path, exact)
    assert reference.posteriors.names == ["a.wav"]
    assert np.array_equal(reference.posteriors["a.wav"], exact)
    assert reference.divergence(UTTERANCE, Recognised("", found)) == divergence(exact, found)


@pytest.mark.parametrize("sharpness", [6, 10])
def test_of_many_classes_the_likeliest_tell_nearly_the_whole_divergence(tmp_path, sharpness):
    draw = np.random.default_rng(1)
    scores = sharpness * draw.normal(size=(7, 51_865))
    exact, found = log_softmax(scores), log_softmax(scores + 0.3 * draw.normal(size=scores.shape))
    reference = stored(tmp_path, exact)
    assert reference.posteriors["a.wav"].shape == (7, KEPT_CLASSES + 1)
    assert np.allclose(np.exp(reference.posteriors["a.wav"]).sum(axis=1), 1, atol=1e-4)
    whole = divergence(exact, found)
    assert 0.8 * whole < reference.divergence(UTTERANCE, Recognised("", found)) <= whole
    assert reference.divergence(UTTERANCE, Recognised("", exact)) == pytest.approx(0, abs=1e-6)
