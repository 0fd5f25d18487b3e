"""The queue of the service: who waits, whose time is over, and who leaves."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from serving import STARTED, Echo, ask, get, head, health, recording, serving

from stablequant.bundle.serve import Limits
from stablequant.bundle.transcribe import Transcript


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
