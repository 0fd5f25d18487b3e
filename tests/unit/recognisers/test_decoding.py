"""A CTC recogniser as an engine runs it: what is built for, what goes in and what comes out."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from checkout import DEMO
from reading import HOP, VOCABULARY, WINDOW, Reading, reading_decoder, spoken
from recognising import torch_network

from stablequant.corpora.utterance import load_audio
from stablequant.recognisers.ctc.decoding import CtcDecoder, limits_of
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.ctc.words import best_path, words_of
from stablequant.recognisers.decoder import NotFiniteError
from stablequant.recognisers.family import Limits
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.sizes import Footprint


@pytest.mark.parametrize(
    ("samples", "shortest", "longest", "expected"),
    [
        ([5_000, 30_000, 10_000], 400, 600_000, Limits(400, 10_000, 600_000)),
        ([5_000, 30_001, 10_000, 20_000], 400, 600_000, Limits(400, 15_000, 600_000)),  # the two in the middle, halved
        ([5_000, 30_000, 10_001, 20_000], 400, 600_000, Limits(400, 15_000, 600_000)),  # and cut to a whole number
        ([700_000], 400, 600_000, Limits(400, 700_000, 700_000)),  # no utterance is longer than the engine takes
        ([300, 900], 400, 600, Limits(300, 600, 900)),  # nor shorter
        ([720], 720, 0, Limits(720, 720, 720)),
    ],
)
def test_an_engine_is_tuned_for_the_median_and_takes_every_utterance(samples, shortest, longest, expected):
    assert limits_of(samples, shortest, longest) == {"samples": expected}


def test_limits_start_at_the_shortest_audio_of_the_recogniser():
    """400 samples for the demo's seven convolutions."""
    assert family_of(DEMO).limits(DEMO, [16_000], 20_000) == {"samples": Limits(400, 16_000, 20_000)}


def test_hypotheses_are_those_of_transformers_tokenizer(demo, demo_utterances):
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    tokenizer = Wav2Vec2CTCTokenizer(str(demo.folder / "vocab.json"))
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(demo.folder)
    decoder = demo.decoder(torch_network(demo.model))
    for batch in decoder.batches(demo_utterances[:12], 1e8):
        audio = [load_audio(u, 16_000) for u in batch]
        prepared = extractor(audio, sampling_rate=16_000, return_tensors="np").input_values
        classes = torch_network(demo.model)({"input_values": prepared})["logits"].argmax(axis=-1)
        assert decoder.recognise(audio) == [" ".join(tokenizer.decode(row).split()) for row in classes]


def test_a_recording_is_named_whose_logits_are_no_numbers(demo):
    def broken(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        logits = np.zeros((len(tensors["input_values"]), 49, 32), dtype=np.float32)
        logits[1, 3, 5] = np.inf
        return {"logits": logits}

    with pytest.raises(NotFiniteError, match="recording 1 contains NaN or infinity") as fault:
        demo.decoder(broken).recognise([np.zeros(16_000, dtype=np.float32)] * 3)
    assert fault.value.row == 1


@pytest.mark.parametrize("most", [1, 2, float("inf")])
@pytest.mark.parametrize(("frames", "chunks"), [(250, 1), (499, 1), (500, 2), (899, 2), (900, 3), (1500, 4)])
def test_words_of_a_long_recording_are_those_of_its_frames(frames, chunks, most):
    """In chunks of ten seconds that overlap by two, as many at once as the memory allows, which is three.

    The recording is a quarter of a frame longer than its frames, since the last frame's window is.
    """
    classes = np.random.default_rng(0).integers(0, 4, frames)
    network = Reading()
    words = reading_decoder(network).transcribe(spoken(classes), 10, budget=3.5 * 160_000, most=most)
    assert words == words_of(*best_path(np.eye(4)[classes]), VOCABULARY, 0.02)
    assert " ".join(word.word for word in words) == VOCABULARY.decode(classes)
    assert max(length for _, length in network.shapes) <= 160_000
    assert max(rows for rows, _ in network.shapes) <= min(most, 3)
    assert sum(rows for rows, _ in network.shapes) == chunks
    if chunks == 4 and most > 1:
        assert {rows for rows, _ in network.shapes} > {1}, "chunks of one length are not recognised together"


def test_a_recording_shorter_than_a_frame_is_padded_to_one():
    network = Reading()
    assert reading_decoder(network, 720).transcribe(np.zeros(100, dtype=np.float32), 30, 1e8, 1) == []
    assert network.shapes == [(1, 720)]


@pytest.mark.parametrize("seconds", [1, 4, float("nan")])
def test_chunks_that_overlap_too_much_are_refused(demo, seconds):
    with pytest.raises(ValueError, match="chunks of"):
        demo.decoder(torch_network(demo.model)).transcribe(np.zeros(16_000, dtype=np.float32), seconds, 1e8, 1)


def test_a_checkpoints_folder_is_enough_for_its_decoder(tmp_path):
    """An engine's folder holds these files beside its networks."""
    family = family_of(DEMO)
    for name in family.files(DEMO):
        if (DEMO / name).is_file():
            (tmp_path / Path(name).name).write_bytes((DEMO / name).read_bytes())
    found = family.decoder(tmp_path, {"model": lambda _: {"logits": np.zeros((1, 49, 32), dtype=np.float32)}})
    assert found.recognise([np.zeros(16_000, dtype=np.float32)]) == [""]


def test_the_logits_of_a_long_recording_are_not_kept():
    """An hour with a vocabulary of Chinese characters would take gigabytes; here two minutes would take 48 MB."""
    vocabulary = Vocabulary(["<pad>", "|", *(chr(0x4E00 + n) for n in range(2_000))], blank=0)

    def network(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        recordings, samples = tensors["input_values"].shape
        return {"logits": np.zeros((recordings, (samples - WINDOW) // HOP + 1, 2_002), dtype=np.float32)}

    front_end = FrontEnd(16_000, False, vocabulary, shortest_samples=WINDOW)
    decoder = CtcDecoder(front_end, Footprint(1.0, 0.0, HOP), network)
    samples = np.zeros(120 * 16_000, dtype=np.float32)
    tracemalloc.start()
    try:
        assert decoder.transcribe(samples, 10, budget=1, most=1) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40e6
