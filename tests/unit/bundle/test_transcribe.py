"""A bundle's recogniser: what it refuses, and what it makes of a recording."""

import io
import json
import math
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import torch
from reading import VOCABULARY, Reading, spoken
from recognising import heard, torch_network
from sound import encoded
from transcribing import reading_transcriber, transcriber
from whisper_files import write_tiny_whisper

from stablequant.bundle.read_bundle import Bundle
from stablequant.bundle.transcribe import (
    RecordingError,
    Transcriber,
    default_chunk,
    load_bundle,
    read_hot_words,
    searching,
)
from stablequant.errors import StableQuantError
from stablequant.recognisers.decoder import BeamSearch, Word
from stablequant.recognisers.registry import family_of


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
        transcriber(tiny).transcribe(tmp_path / "audio.wav")


def test_a_recording_without_audio_is_named(tiny, tmp_path):
    soundfile.write(tmp_path / "audio.wav", np.zeros(0), 16_000)
    with pytest.raises(StableQuantError, match=r"audio\.wav: no audio in it; give a recording that can be read"):
        transcriber(tiny).transcribe(tmp_path / "audio.wav")


def test_speech_is_transcribed_from_whatever_holds_it(demo, demo_utterances):
    """Paths, bytes, open files, and arrays at any rate, of any type, with channels or without."""
    path = Path(demo_utterances[0].path)
    recogniser = transcriber(demo)
    expected = recogniser.transcribe(path)
    samples, rate = soundfile.read(path, dtype="float32")
    for held in (str(path), path.read_bytes(), bytearray(path.read_bytes()), io.BytesIO(path.read_bytes())):
        assert recogniser.transcribe(held) == expected
    for dtype in ("int16", "int32", "float64"):
        assert recogniser.transcribe(soundfile.read(path, dtype=dtype)[0], rate) == expected
    assert recogniser.transcribe(torch.from_numpy(samples), rate) == expected
    stereo = np.stack([samples + 0.1, samples - 0.1], axis=1)
    for found in (
        recogniser.transcribe(stereo, rate),
        recogniser.transcribe((128 + np.rint(127 * samples / np.abs(samples).max())).astype(np.uint8), rate),
        recogniser.transcribe(np.repeat(samples, 3), 3 * rate),
    ):
        assert found.seconds == pytest.approx(expected.seconds)
        assert jiwer.cer(expected.text, found.text) < 0.1
    assert all(0 < word.confidence <= 1 for word in expected.words)


def test_several_recordings_are_recognised_together_and_keep_their_order(tiny):
    """Chunks of one length share a batch, whichever recording they are of."""
    network = Reading()
    draw = np.random.default_rng(0)
    paths = [draw.integers(0, 4, frames) for frames in (900, 30, 1000, 30, 900)]
    recogniser = reading_transcriber(tiny.folder, network, batch_mb=100, most=99)
    found = recogniser.transcribe([spoken(path) for path in paths], 16_000)
    assert [transcript.text for transcript in found] == [VOCABULARY.decode(path) for path in paths]
    # Of the long ones each has two full chunks and a last one that is less than a frame shorter.
    assert sorted(rows for rows, _ in network.shapes) == [2, 3, 6]
    assert found == [recogniser.transcribe(spoken(path), 16_000) for path in paths]
    assert recogniser.transcribe([]) == []


def test_a_decoder_without_batches_takes_one_recording_after_another(tiny):
    class One:
        def transcribe(self, samples, chunk_seconds, budget, most):
            return [Word(str(len(samples)), 0.0, 1.0)]

    recogniser = Transcriber(Bundle(tiny.folder, {}, family_of(tiny.folder)), One(), "", 1, 10, 1)
    found = recogniser.transcribe([np.zeros(5), np.zeros(7)], 16_000)
    assert [transcript.text for transcript in found] == ["5", "7"]


@pytest.mark.parametrize(
    ("source", "rate", "fault"),
    [
        (np.zeros(100), None, r"an array without its sample rate; call transcribe\(array, sample_rate=\.\.\.\)"),
        (np.zeros(100), 0, "a rate of 0 Hz"),
        (np.zeros((2, 16_000)), 16_000, "an array of 2 x 16000; give it as samples, or as samples x channels"),
        (np.zeros((2, 3, 4)), 16_000, "an array of 2 x 3 x 4"),
        (np.zeros(100, dtype=complex), 16_000, "an array of complex128; give float32, int16, int32 or uint8"),
        (np.zeros(100, dtype=np.int64), 16_000, "an array of int64"),
        (np.array([0.0, np.nan]), 16_000, "the samples contain NaN or infinity"),
        (np.zeros(0), 16_000, "no audio in it"),
        (np.zeros(32_001), 16_000, "longer than 2 s"),
        (b"", None, "an empty file"),
        (io.StringIO("text"), None, "a file that was opened as text; open it with mode 'rb'"),
        (7, None, "a recording of type int; give a path, bytes, a file or an array"),
    ],
    ids=range(12),  # the address of a file would differ between the processes of pytest
)
def test_what_is_no_recording_is_named_by_its_place(tiny, source, rate, fault):
    recogniser = reading_transcriber(tiny.folder, longest_seconds=2)
    with pytest.raises(RecordingError, match=f"^the recording: {fault}"):
        recogniser.transcribe(source, rate)
    with pytest.raises(RecordingError, match=f"^recording 2: {fault}"):
        recogniser.transcribe([io.BytesIO(encoded("WAV", np.zeros(16_000))), source], rate)


@pytest.mark.parametrize(
    ("record", "longest", "seconds"),
    [
        ({}, math.inf, 10),  # a bundle of an earlier version
        ({"calibration": {"longest_seconds": 9.0, "p90_seconds": 6.5}}, math.inf, 6.5),
        ({"calibration": {"longest_seconds": 4.0, "p90_seconds": 3.5}}, math.inf, 5),
        ({"calibration": {"longest_seconds": 90.0, "p90_seconds": 60}}, math.inf, 30),
        ({"calibration": {"longest_seconds": 90.0, "p90_seconds": 60}}, 16_000 * 8, 8),  # what the engine takes
        ({}, 16_000, 4.01),
    ],
)
def test_chunks_are_as_long_as_what_was_calibrated_and_what_the_engine_takes(tiny, record, longest, seconds):
    assert default_chunk(Bundle(tiny.folder, record, family_of(tiny.folder)), longest) == pytest.approx(seconds)


@pytest.mark.parametrize("lengths", [None, [], {"p90_seconds": "9"}, {"p90_seconds": 0}, {"p90_seconds": 10**400}])
def test_a_record_with_impossible_lengths_is_refused(tmp_path, lengths):
    (tmp_path / "quantization.json").write_text(json.dumps({"sha256": {}, "calibration": lengths}))
    with pytest.raises(StableQuantError, match="'calibration' is malformed; copy the bundle again"):
        load_bundle(tmp_path)


def test_a_recogniser_with_a_window_gets_chunks_of_its_window(tmp_path):
    write_tiny_whisper(tmp_path)
    family = family_of(tmp_path)
    assert default_chunk(Bundle(tmp_path, {"calibration": {"p90_seconds": 9.0}}, family), math.inf) == 2
    decoder = family.decoder(tmp_path, {})
    with pytest.raises(StableQuantError, match="whisper writes by a language model of its own; leave out the language"):
        searching(decoder, BeamSearch(hot_words=["WORD"]), Bundle(tmp_path, {}, family))


def test_a_recogniser_names_its_language_if_its_files_do(tiny, tmp_path):
    write_tiny_whisper(tmp_path)
    settings = tmp_path / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"language": "<|de|>"}))
    family = family_of(tmp_path)
    whisper = Transcriber(Bundle(tmp_path, {}, family), family.decoder(tmp_path, {}), "float32", 100, 2, 1)
    assert (whisper.language, transcriber(tiny).language) == ("de", None)


def test_long_speech_gives_its_words_at_the_default_and_not_at_thirty_seconds(demo, demo_utterances):
    """One voice. The demo was trained on utterances of 2 to 4 s, so chunks of 30 s do it harm."""
    voice = [u for u in demo_utterances if u.speaker == demo_utterances[0].speaker]
    pieces = [np.pad(soundfile.read(u.path, dtype="float32")[0], (0, 8_000)) for u in voice]
    repeats = -(-9 // len(pieces))
    network = torch_network(demo.model)
    expected = "".join(heard(demo, network, voice)[u.path] for u in voice).replace(" ", "") * repeats
    calibrated = {"calibration": {"longest_seconds": 4.0, "p90_seconds": 3.5}}
    suits = default_chunk(Bundle(demo.folder, calibrated, family_of(demo.folder)), math.inf)
    errors = [
        jiwer.cer(
            expected,
            transcriber(demo, network, seconds)
            .transcribe(np.concatenate(pieces * repeats), 16_000)
            .text.replace(" ", ""),
        )
        for seconds in (suits, 30)
    ]
    assert errors[0] < 0.08
    assert errors[0] < errors[1] / 1.5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("one\n\n  two  words \n", ["one", "two words"]),
        (b"\xef\xbb\xbfone\r\ntwo", ["one", "two"]),  # as Windows writes it
        ("", None),
        (b"\xff\xfe", None),
        (" \n", None),
    ],
)
def test_hot_words_are_read_one_per_line(tmp_path, content, words):
    file = tmp_path / "words.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    if words is not None:
        assert read_hot_words(file) == words
        return
    with pytest.raises(StableQuantError, match=r"words\.txt: .*; write one hot word per line"):
        read_hot_words(file)


def test_speech_is_transcribed_from_a_file_and_from_standard_input(demo, demo_utterances):
    hypotheses = heard(demo, torch_network(demo.model), demo_utterances[:3])
    recogniser = transcriber(demo)
    for utterance in demo_utterances[:3]:
        found = recogniser.transcribe(utterance.path)
        assert found.text == hypotheses[utterance.path]
        assert found.seconds == pytest.approx(utterance.samples / 16_000)
        assert " ".join(word.word for word in found.words) == found.text
        with Path(utterance.path).open("rb") as file:
            assert recogniser.transcribe(file) == found
