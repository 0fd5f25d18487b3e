"""The service under load: hundreds of requests while other clients are slow or break off and the process is killed."""

import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import openai
import pytest
from commands import service

from stablequant.bundle.serve import PATH
from stablequant.bundle.transcribe import load_bundle

pytestmark = pytest.mark.load
REQUESTS, CLIENTS, TROUBLEMAKERS = 400, 12, 6


def trouble(port: int, over: threading.Event, seed: int) -> None:
    """Begin requests of every broken kind until it is over."""
    draw = random.Random(seed)
    begun = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: "
    part = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    while not over.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(draw.choice([begun, f"{begun}99999\r\n\r\n{part}", "GET / HT", "\0" * 99]).encode())
            for _ in range(draw.randrange(10)):
                connection.sendall(draw.randbytes(5))
                time.sleep(0.05)


def test_every_request_is_answered_with_its_own_words_though_the_service_is_killed(bundle, demo_utterances):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [Path(u.path) for u in demo_utterances[:10]]
    recogniser = load_bundle(bundle)
    expected = {path: recogniser.transcribe(path).text for path in paths}
    assert len(set(expected.values())) == len(paths)
    clients = [openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) for _ in range(4)]
    answered: list[int] = []

    def ask(number: int) -> str:
        """As a client does that tries again."""
        create: Callable = clients[number % len(clients)].audio.transcriptions.create
        for _ in range(300):
            with suppress(openai.APIConnectionError, openai.InternalServerError):
                found = create(model="any", file=paths[number % len(paths)]).text
                answered.append(number)
                return found
            time.sleep(0.2)
        raise TimeoutError(f"request {number} was not answered in a minute")

    over = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as callers, ThreadPoolExecutor(TROUBLEMAKERS) as others:
        asked = [callers.submit(ask, number) for number in range(REQUESTS)]
        for seed in range(TROUBLEMAKERS):
            others.submit(trouble, port, over, seed)
        try:
            for share in (0.25, 0.5):
                with service(bundle, "--callers", "4", port=port) as (process, _):
                    while len(answered) < share * REQUESTS:
                        assert process.poll() is None
                        time.sleep(0.02)
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            with service(bundle, "--callers", "4", port=port) as (process, _):
                texts = [future.result() for future in asked]
                over.set()
                process.send_signal(signal.SIGTERM)
                assert process.wait(90) == -signal.SIGTERM
        finally:
            over.set()
    assert texts == [expected[paths[number % len(paths)]] for number in range(REQUESTS)]
