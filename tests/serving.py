"""The service over real HTTP, clients of it, and a recogniser that only says how long a recording is."""

import functools
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import openai
import soundfile
import uvicorn
from sound import encoded

from stablequant.bundle.serve import PATH, Limits, configure
from stablequant.bundle.transcribe import Transcript
from stablequant.recognisers.decoder import Word

SHORT = Limits(upload_mb=1, callers=2, waiting=2, upload_seconds=1, recognise_seconds=20)
STARTED = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


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
    """Silence of this length."""
    return encoded("WAV", np.zeros(samples))


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
