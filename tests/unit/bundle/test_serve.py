"""The service over real HTTP, with OpenAI's client and with clients that do everything wrong."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import openai
import pytest
from openai.types.audio import TranscriptionVerbose
from reading import VOCABULARY, spoken
from serving import STARTED, Echo, ask, client, get, head, raw, recording, serving
from sound import encoded
from transcribing import reading_transcriber, transcriber

from stablequant.bundle.serve import Limits
from stablequant.bundle.subtitles import cues
from stablequant.bundle.transcribe import Transcript


@pytest.fixture(scope="module")
def demo_service(demo):
    """The demo's recogniser as a service."""
    recogniser = transcriber(demo)
    with serving(recogniser) as port:
        yield recogniser, port


def test_the_client_of_openai_gets_the_words_in_every_form(demo_service, demo_utterances):
    recogniser, port = demo_service
    path = Path(demo_utterances[0].path)
    expected = recogniser.transcribe(path)
    create = client(port).audio.transcriptions.create
    assert create(model="any", file=path).text == expected.text
    assert create(model="any", file=path, response_format="text").strip() == expected.text
    full = create(model="any", file=path, response_format="verbose_json", timestamp_granularities=["word"])
    assert (full.text, full.duration) == (expected.text, expected.seconds)
    assert [(w.word, w.start, w.end) for w in full.words] == [(w.word, w.start, w.end) for w in expected.words]
    TranscriptionVerbose.model_validate(full.to_dict())  # the client itself takes an answer as it is
    assert full.language == "unknown"
    assert " ".join(segment.text for segment in full.segments) == expected.text
    assert [s.avg_logprob for s in full.segments] == pytest.approx(
        [np.mean(np.log([word.confidence for word in cue])) for cue in cues(expected.words)], abs=1e-4
    )
    assert create(model="any", file=path, response_format="srt").startswith("1\n00:00:0")
    assert create(model="any", file=path, response_format="vtt").startswith("WEBVTT\n\n00:00:0")
    assert [model.id for model in client(port).models.list()] == ["tiny"]


def test_what_cannot_be_heard_is_refused_as_openai_does(demo_service):
    _, port = demo_service
    create = client(port).audio.transcriptions.create
    with pytest.raises(openai.BadRequestError, match="damaged or not audio"):
        create(model="any", file=("a.wav", b"not audio"))
    with pytest.raises(openai.BadRequestError, match="no audio in it; give a recording"):
        create(model="any", file=("a.wav", recording(0)))
    with pytest.raises(openai.BadRequestError, match="no response_format 'xml'; known are json, verbose_json"):
        create(model="any", file=("a.wav", recording(9)), response_format="xml")
    with pytest.raises(openai.BadRequestError, match="'file' is a text, not a recording; send its content"):
        create(model="any", file=("", b""))
    assert '"param":"file"' in raw(port, head(2, "application/json") + b"{}")
    other = b'--x\r\nContent-Disposition: form-data; name="data"\r\n\r\nrecording.flac\r\n--x--\r\n'
    assert "the form has no 'file'; send the recording as the field 'file'" in raw(port, head(len(other)) + other)
    long = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + bytes(100_000) + b"\r\n--x--\r\n"
    assert "400" in raw(port, head(len(long)) + long).splitlines()[0], "texts are kept in memory"


@pytest.mark.parametrize(
    ("charset", "status"), [("undefined", 400), ("punycode", 400), ("idna", 200), ("hex", 200), ("no-such", 200)]
)
def test_a_form_that_its_charset_cannot_decode_is_refused(charset, status):
    """Python has charsets that no form has; unknown ones are passed over."""
    form = STARTED + recording(7) + b"\r\n--x--\r\n"
    with serving(Echo()) as port:
        answer = raw(port, head(len(form), f"multipart/form-data; boundary=x; charset={charset}") + form)
        assert answer.split()[1] == str(status)
        if status == 400:
            assert '"message":"the form cannot be decoded with its charset; send it in UTF-8"' in answer
        assert json.loads(get(port, "/health")) == {"status": "ready", "waiting": 0, "arriving": 0}


def test_another_language_than_the_recognisers_is_refused():
    audio = ("a.wav", recording(7))
    with serving(Echo(), language="en") as port:
        create = client(port).audio.transcriptions.create
        for known in ({}, {"language": "en"}, {"language": "EN-us"}, {"languages": ["fr", "en"]}):
            assert create(model="any", file=audio, response_format="verbose_json", **known).language == "en"
        for other in ({"language": "fr"}, {"languages": ["fr", "de"]}):
            with pytest.raises(openai.BadRequestError, match=r"this model writes 'en', not 'fr.*leave 'language' out"):
                create(model="any", file=audio, **other)
    with serving(Echo()) as port:
        assert client(port).audio.transcriptions.create(model="any", file=audio, language="fr").text == "7"


def test_nobody_is_served_the_words_of_another(demo_service, demo_utterances):
    recogniser, port = demo_service
    paths = [Path(u.path) for u in demo_utterances[:6]]
    alone = {path: recogniser.transcribe(path).text for path in paths}
    asked = paths * 4
    with ThreadPoolExecutor(4) as callers:
        texts = callers.map(lambda path: client(port).audio.transcriptions.create(model="a", file=path).text, asked)
        assert list(texts) == [alone[path] for path in asked]


def test_many_clients_each_get_the_words_of_their_own_recording(tiny):
    """Sixty different recordings, sixteen at a time, through the decoder; what is said in each is known beforehand."""
    draw = np.random.default_rng(0)
    paths = [draw.integers(0, 4, 50 + n) for n in range(60)]
    recogniser = reading_transcriber(tiny.folder)

    def create(path: np.ndarray) -> str:
        recording = encoded("WAV", spoken(path), subtype="FLOAT")
        return client(port).audio.transcriptions.create(model="any", file=("a.wav", recording)).text

    with serving(recogniser, Limits(callers=4, waiting=60)) as port, ThreadPoolExecutor(16) as callers:
        assert list(callers.map(create, paths)) == [VOCABULARY.decode(path) for path in paths]


def test_hundreds_of_requests_lose_nothing():
    with serving(Echo(), Limits(waiting=400)) as port, ThreadPoolExecutor(32) as callers:
        lengths = [1000 + i for i in range(300)]
        assert list(callers.map(lambda samples: ask(port, samples), lengths)) == [str(length) for length in lengths]
        told = get(port, "/metrics")
        assert 'stablequant_requests_total{status="200"} 300.0' in told
        assert "stablequant_requests_waiting 0.0" in told


def test_slow_broken_and_too_large_uploads_harm_nobody():
    with serving(Echo()) as port:
        started = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + recording(100)
        assert "408" in raw(port, head(10_000) + started).splitlines()[0], "a client that never sends the rest"
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(head(10_000) + started)
        with pytest.raises(openai.APIStatusError, match="larger than 1 MB") as refused:
            client(port).audio.transcriptions.create(model="any", file=("a.wav", bytes(2_000_000)))
        assert refused.value.status_code == 413
        assert "400" in raw(port, head(4) + b"--x!").splitlines()[0]
        time.sleep(0.2)
        assert json.loads(get(port, "/health")) == {"status": "ready", "waiting": 0, "arriving": 0}
        assert ask(port, 5) == "5"


def test_slow_clients_take_no_place_in_the_queue():
    """More of them than the queue has places; each sends a byte now and then."""
    with serving(Echo(), Limits(callers=1, waiting=1, uploads=9, upload_seconds=2)) as port, ExitStack() as open_ones:
        slow = [open_ones.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(8)]
        for connection in slow:
            connection.sendall(head(10_000) + STARTED)
        for samples in range(5, 9):
            for connection in slow:
                connection.sendall(b"x")
            assert ask(port, samples) == str(samples)
        assert json.loads(get(port, "/health")) == {"status": "ready", "waiting": 0, "arriving": 8}
        slow.append(open_ones.enter_context(socket.create_connection(("127.0.0.1", port))))
        slow[-1].sendall(head(10_000) + STARTED)
        time.sleep(0.2)
        with pytest.raises(openai.InternalServerError, match="too many recordings arrive at the same time"):
            ask(port, 5)
        for connection in slow:
            connection.settimeout(5)
            assert b"408" in connection.recv(100)
        assert ask(port, 5) == "5"


def test_audio_that_is_too_long_is_refused(tiny):
    with serving(reading_transcriber(tiny.folder, longest_seconds=1)) as port:
        assert ask(port, 16_000) == ""
        with pytest.raises(openai.BadRequestError, match="longer than 1 s"):
            ask(port, 16_001)


def test_a_fault_inside_is_not_told_to_clients():
    class Broken:
        def transcribe(self, source) -> Transcript:
            raise RuntimeError("a secret path")

    with serving(Broken()) as port, pytest.raises(openai.InternalServerError) as fault:
        ask(port, 5)
    assert "secret" not in str(fault.value) and "internal error" in str(fault.value)
