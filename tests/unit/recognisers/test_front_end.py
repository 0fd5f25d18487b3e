"""Preprocessing against transformers' feature extractor."""

import numpy as np
from transformers import Wav2Vec2FeatureExtractor

from stablequant.corpora.utterance import load_audio
from stablequant.recognisers.ctc.front_end import FrontEnd


def test_normalised_like_transformers(demo, demo_utterances):
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(demo.folder)
    for utterance in demo_utterances[:3]:
        raw = load_audio(utterance, 16_000)
        expected = extractor(raw, sampling_rate=16_000, return_tensors="np").input_values[0]
        assert np.allclose(demo.front_end.prepare(raw), expected, atol=1e-4)


def test_without_normalisation_the_network_takes_the_samples_as_they_are(demo, demo_utterances):
    raw = load_audio(demo_utterances[0], 16_000)
    assert np.array_equal(FrontEnd(16_000, False, demo.front_end.vocabulary).prepare(raw), raw)
