"""A bundle's recogniser: what it refuses, and what it makes of a recording."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import Loaded, heard, torch_network

from stablequant.bundle.transcribe import Transcriber, load_bundle
from stablequant.bundle.write_bundle import Bundle
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Network
from stablequant.recognisers.registry import family_of


def transcriber(loaded: Loaded, network: Network, chunk_seconds: float = 30) -> Transcriber:
    bundle = Bundle(loaded.folder, {}, family_of(loaded.folder))
    decoder = loaded.decoder(network)
    return Transcriber(bundle, decoder, "float32", batch_mb=100, chunk_seconds=chunk_seconds, max_utterances=1)


@pytest.mark.parametrize("seconds", [1, 4, float("nan"), float("inf")])
def test_chunks_that_overlap_too_much_or_never_end_are_refused(tmp_path, seconds):
    with pytest.raises(ValueError, match="chunks of"):
        load_bundle(tmp_path, chunk_seconds=seconds)


def test_a_network_that_gives_no_numbers_is_named(tiny, tmp_path):
    soundfile.write(tmp_path / "audio.wav", np.zeros(16_000), 16_000)

    def broken(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": np.full((len(tensors["input_values"]), 49, 32), np.nan, dtype=np.float32)}

    with pytest.raises(
        StableQuantError, match="its network's output contains NaN or infinity; build it again"
    ) as fault:
        transcriber(tiny, broken).transcribe(tmp_path / "audio.wav")
    assert str(fault.value).startswith(f"{tiny.folder}: ")


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "the file does not exist"), (b"not audio", "damaged or not audio"), (b"", "an empty file")],
)
def test_a_recording_that_cannot_be_read_is_named(tiny, tmp_path, content, fault):
    if content is not None:
        (tmp_path / "audio.wav").write_bytes(content)
    with pytest.raises(StableQuantError, match=rf"audio\.wav: {fault}.*; give a recording that can be read"):
        transcriber(tiny, torch_network(tiny.model)).transcribe(tmp_path / "audio.wav")


def test_a_recording_without_audio_is_named(tiny, tmp_path):
    soundfile.write(tmp_path / "audio.wav", np.zeros(0), 16_000)
    with pytest.raises(StableQuantError, match=r"audio\.wav: no audio in it; give a recording that can be read"):
        transcriber(tiny, torch_network(tiny.model)).transcribe(tmp_path / "audio.wav")


def test_speech_is_transcribed_from_a_file_and_from_standard_input(demo, demo_utterances):
    hypotheses = heard(demo, torch_network(demo.model), demo_utterances[:3])
    recogniser = transcriber(demo, torch_network(demo.model))
    for utterance in demo_utterances[:3]:
        found = recogniser.transcribe(utterance.path)
        assert found.text == hypotheses[utterance.path]
        assert found.seconds == pytest.approx(utterance.samples / 16_000)
        assert " ".join(word.word for word in found.words) == found.text
        with Path(utterance.path).open("rb") as file:
            assert recogniser.transcribe(file) == found
