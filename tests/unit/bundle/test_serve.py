"""The service over real HTTP, with OpenAI's client and with clients that do everything wrong."""

import functools
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import openai
import pytest
import soundfile
import uvicorn
from openai.types.audio import TranscriptionVerbose
from recognisers.test_decoding import VOCABULARY, Reading, reading_decoder
from recognisers.test_decoding import spoken as said
from recognising import torch_network
from test_transcribe import transcriber

from stablequant.bundle.answers import segment
from stablequant.bundle.listening import is_loopback
from stablequant.bundle.read_bundle import Bundle
from stablequant.bundle.serve import PATH, Limits, configure
from stablequant.bundle.subtitles import cues
from stablequant.bundle.transcribe import Transcriber, Transcript
from stablequant.recognisers.family import Word
from stablequant.recognisers.registry import family_of

SHORT = Limits(upload_mb=1, callers=2, waiting=2, upload_seconds=1, recognise_seconds=20)


@contextmanager
def serving(recogniser, limits: Limits = SHORT, language: str | None = None) -> Iterator[int]:
    """The port on which ``recogniser`` is served inside the block."""
    server = uvicorn.Server(configure(recogniser, "tiny", "127.0.0.1", 0, limits, language))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@functools.cache
def client(port: int) -> openai.OpenAI:
    """Shared by threads; to make one takes longer than to ask."""
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.read().decode()


def health(port: int) -> dict[str, object]:
    try:
        return json.loads(get(port, "/health"))
    except urllib.error.HTTPError as answer:
        assert answer.code == 503
        return json.load(answer)


class Echo:
    """Says how long the recording is, in samples, after ``pause`` seconds."""

    def __init__(self, pause: float = 0) -> None:
        self.pause = pause
        self.asked = 0

    def transcribe(self, source) -> Transcript:
        self.asked += 1
        samples, rate = soundfile.read(source)
        time.sleep(self.pause)
        words = [Word(str(len(samples)), 0.0, len(samples) / rate)]
        return Transcript(words[0].word, len(samples) / rate, words)


def recording(samples: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(samples), 16_000, format="WAV")
    return file.getvalue()


def ask(port: int, samples: int) -> str:
    return client(port).audio.transcriptions.create(model="any", file=("a.wav", recording(samples))).text


def raw(port: int, content: bytes) -> str:
    """The answer to ``content`` as it is."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(content)
        connection.settimeout(10)
        return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()


def head(length: int, kind: str = "multipart/form-data; boundary=x") -> bytes:
    lines = [
        f"POST {PATH} HTTP/1.1",
        "Host: a",
        "Connection: close",
        f"Content-Type: {kind}",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture(scope="module")
def spoken(demo):
    """The demo's recogniser as a service."""
    recogniser = transcriber(demo, torch_network(demo.model))
    with serving(recogniser) as port:
        yield recogniser, port


def test_the_client_of_openai_gets_the_words_in_every_form(spoken, demo_utterances):
    recogniser, port = spoken
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


def test_what_cannot_be_heard_is_refused_as_openai_does(spoken):
    _, port = spoken
    create = client(port).audio.transcriptions.create
    with pytest.raises(openai.BadRequestError, match="damaged or not audio"):
        create(model="any", file=("a.wav", b"not audio"))
    with pytest.raises(openai.BadRequestError, match="no audio in it; give a recording"):
        create(model="any", file=("a.wav", recording(0)))
    with pytest.raises(openai.BadRequestError, match="no response_format 'xml'; known are json, verbose_json"):
        create(model="any", file=("a.wav", recording(9)), response_format="xml")
    with pytest.raises(openai.BadRequestError, match="the form has no 'file'"):
        create(model="any", file=("", b""))
    assert '"param":"file"' in raw(port, head(2, "application/json") + b"{}")


def test_a_segment_that_repeats_itself_is_known_by_its_compression():
    """By the limit of 2.4 beyond which OpenAI's interface calls it failed."""
    said = [Word("hello", float(i), i + 0.5) for i in range(20)]
    assert segment(0, said)["compression_ratio"] > 2.4 > segment(0, said[:3])["compression_ratio"]
    assert segment(0, said)["avg_logprob"] == 0
    assert segment(0, [Word("hello", 0, 1, 0.0)])["avg_logprob"] < -5


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


def test_nobody_is_served_the_words_of_another(spoken, demo_utterances):
    recogniser, port = spoken
    paths = [Path(u.path) for u in demo_utterances[:6]]
    alone = {path: recogniser.transcribe(path).text for path in paths}
    asked = paths * 4
    with ThreadPoolExecutor(4) as callers:
        texts = callers.map(lambda path: client(port).audio.transcriptions.create(model="a", file=path).text, asked)
        assert list(texts) == [alone[path] for path in asked]


def test_hundreds_of_requests_lose_nothing():
    with serving(Echo(), Limits(waiting=400)) as port, ThreadPoolExecutor(32) as callers:
        lengths = [1000 + i for i in range(300)]
        assert list(callers.map(lambda samples: ask(port, samples), lengths)) == [str(length) for length in lengths]
        told = get(port, "/metrics")
        assert 'stablequant_requests_total{status="200"} 300.0' in told
        assert "stablequant_requests_waiting 0.0" in told


def test_a_full_queue_refuses_and_recovers():
    with serving(Echo(0.5)) as port, ThreadPoolExecutor(8) as callers:
        asked = [callers.submit(ask, port, 1000 + i) for i in range(8)]
        faults = [future.exception() for future in asked]
        served = [future.result() for future in asked if not future.exception()]
        refused = [fault for fault in faults if fault]
        assert len(served) >= 4 and len(set(served)) == len(served)
        assert refused and all(isinstance(fault, openai.InternalServerError) for fault in refused)
        assert all(fault.status_code == 503 and fault.response.headers["retry-after"] == "5" for fault in refused)
        assert json.loads(get(port, "/health")) == {"status": "ready", "waiting": 0, "arriving": 0}
        assert ask(port, 77) == "77"


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


STARTED = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


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


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\nHost: "])
@pytest.mark.parametrize("before", [False, True])
def test_connections_on_which_no_request_comes_are_closed(sent, before):
    """Also behind a request that was answered; between two requests the client may wait longer."""
    with serving(Echo()) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(2)
        if before:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            while connection.recv(1) != b"}":
                pass
        connection.sendall(sent)
        if before and not sent:
            with pytest.raises(TimeoutError):
                connection.recv(1)
        else:
            start = time.monotonic()
            assert connection.recv(1) == b""
            assert time.monotonic() - start > 0.8


def test_who_leaves_while_waiting_gives_up_the_place():
    recogniser = Echo(0.5)
    body = STARTED + recording(50) + b"\r\n--x--\r\n"
    with serving(recogniser, Limits(callers=1, waiting=4)) as port, ThreadPoolExecutor(1) as callers:
        first = callers.submit(ask, port, 77)
        while not recogniser.asked:
            time.sleep(0.01)
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(head(len(body)) + body)
                time.sleep(0.05)
        assert ask(port, 5) == "5"
        assert first.result() == "77"
        assert recogniser.asked == 2
        assert 'stablequant_requests_total{status="499"} 4.0' in get(port, "/metrics")


def test_many_clients_each_get_the_words_of_their_own_recording(tiny):
    """Sixty different recordings, sixteen at a time, through the decoder; what is said in each is known beforehand."""
    network = Reading()
    draw = np.random.default_rng(0)
    paths = [draw.integers(0, 4, 50 + n) for n in range(60)]
    bundle = Bundle(tiny.folder, {}, family_of(tiny.folder))
    recogniser = Transcriber(bundle, reading_decoder(network), "float32", 1, 10, 4)

    def recorded(path: np.ndarray) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, said(path), 16_000, format="WAV", subtype="FLOAT")
        return file.getvalue()

    def create(path: np.ndarray) -> str:
        answer = client(port).audio.transcriptions.create(model="any", file=("a.wav", recorded(path)))
        return answer.text

    with serving(recogniser, Limits(callers=4, waiting=60)) as port, ThreadPoolExecutor(16) as callers:
        assert list(callers.map(create, paths)) == [VOCABULARY.decode(path) for path in paths]


def test_audio_that_is_too_long_is_refused(tiny):
    bundle = Bundle(tiny.folder, {}, family_of(tiny.folder))
    recogniser = Transcriber(bundle, reading_decoder(Reading()), "float32", 1, 10, 4, longest_seconds=1)
    with serving(recogniser) as port:
        assert ask(port, 16_000) == ""
        with pytest.raises(openai.BadRequestError, match="longer than 1 s"):
            ask(port, 16_001)


def test_a_recording_that_takes_too_long_frees_its_place_when_it_is_done():
    with serving(Echo(1), Limits(callers=1, waiting=2, recognise_seconds=0.2)) as port:
        with pytest.raises(openai.InternalServerError, match=r"not recognised within 0\.2 s") as late:
            ask(port, 5)
        assert late.value.status_code == 504
        time.sleep(1.2)
        assert json.loads(get(port, "/health"))["status"] == "ready"


class Held:
    """Recognises nothing until it may."""

    def __init__(self) -> None:
        self.may = threading.Event()

    def transcribe(self, source) -> Transcript:
        self.may.wait(10)
        return Transcript("done", 1.0, [])


def test_time_is_up_for_those_who_wait_too_and_a_service_that_is_stuck_takes_nothing():
    recogniser = Held()
    limits = Limits(callers=1, waiting=2, recognise_seconds=1)
    with serving(recogniser, limits) as port, ThreadPoolExecutor(3) as callers:
        start = time.monotonic()
        asked = [callers.submit(ask, port, 5) for _ in range(3)]
        faults = [future.exception() for future in asked]
        assert time.monotonic() - start < 2
        assert [fault.status_code for fault in faults] == [504, 504, 504]
        assert health(port) == {"status": "full", "waiting": 1, "arriving": 0}
        with pytest.raises(openai.InternalServerError, match="the queue is full") as refused:
            ask(port, 5)
        assert refused.value.status_code == 503
        assert "stablequant_requests_waiting 1.0" in get(port, "/metrics")
        recogniser.may.set()
        while health(port)["waiting"]:
            time.sleep(0.01)
        assert health(port)["status"] == "ready"
        assert ask(port, 5) == "done"


def test_a_service_that_is_stopped_answers_those_who_wait_however_short_their_time_is():
    recogniser = Echo(0.2)
    limits = Limits(callers=1, waiting=2, upload_seconds=0.9, recognise_seconds=0.9)
    with ThreadPoolExecutor(2) as callers:
        with serving(recogniser, limits) as port:
            asked = [callers.submit(ask, port, samples) for samples in (5, 6)]
            while health(port)["waiting"] < 2:
                time.sleep(0.01)
        assert [future.result() for future in asked] == ["5", "6"]


def test_a_fault_inside_is_not_told_to_clients():
    class Broken:
        def transcribe(self, source) -> Transcript:
            raise RuntimeError("a secret path")

    with serving(Broken()) as port, pytest.raises(openai.InternalServerError) as fault:
        ask(port, 5)
    assert "secret" not in str(fault.value) and "internal error" in str(fault.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.7", False),
        ("a.b", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host, local):
    assert is_loopback(host) == local
