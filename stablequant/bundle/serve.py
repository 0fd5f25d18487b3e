"""An HTTP service that transcribes with a bundle, with the interface that speech clients of OpenAI already speak.

``POST /v1/audio/transcriptions`` takes a recording as a form and answers in ``json``, ``verbose_json``, ``text``,
``srt`` or ``vtt``. ``GET /v1/models`` names the model, ``GET /health`` tells whether requests are taken, and ``GET
/metrics`` is for Prometheus.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import BinaryIO, Protocol

import h11
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

from stablequant.bundle.subtitles import cues, subrip, webvtt
from stablequant.bundle.transcribe import RecordingError, Transcript
from stablequant.recognisers.sizes import MEGABYTE

FIELDS = 20  # most fields of a form
CONNECTIONS = 512  # most connections, so that there are enough file numbers
PATH = "/v1/audio/transcriptions"
FULL = "the queue is full; try again later"
LATER = {"Retry-After": "5"}


class Recogniser(Protocol):
    """What the service needs; `stablequant.bundle.transcribe.Transcriber` is one. Threads call it at the same time."""

    def transcribe(self, source: BinaryIO) -> Transcript: ...


@dataclass(frozen=True)
class Limits:
    """What the service takes.

    Attributes
    ----------
    upload_mb: megabytes of a request
    callers: recordings that are recognised at the same time
    waiting: further requests that wait; more are refused with status 503
    uploads: requests that arrive at the same time; more are refused with status 503
    upload_seconds: time in which the head of a request must arrive, and then its body
    recognise_seconds: time after which a client gets status 504
    """

    upload_mb: float = 100
    callers: int = 2
    waiting: int = 32
    uploads: int = 64
    upload_seconds: float = 60
    recognise_seconds: float = 600


class Refusal(HTTPException):
    """A request that is refused; the answer has the form of OpenAI's errors."""

    def __init__(
        self, status: int, message: str, parameter: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.parameter = parameter


class Metrics:
    """What ``/metrics`` tells."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("stablequant_requests", "Answered, by status", ["status"], registry=self.registry)
        self.waiting = Gauge("stablequant_requests_waiting", "Requests that wait or run", registry=self.registry)
        self.audio = Counter("stablequant_audio_seconds", "Recognised audio", registry=self.registry)
        self.seconds = Histogram("stablequant_request_seconds", "From upload to answer", registry=self.registry)


class Service:
    """The routes of the service. ``name`` is what clients see as the model's name."""

    def __init__(self, recogniser: Recogniser, name: str, limits: Limits) -> None:
        self._recogniser, self._name, self._limits = recogniser, name, limits
        self._metrics = Metrics()
        self._pool = ThreadPoolExecutor(limits.callers, "recognise")
        self._free = asyncio.Semaphore(limits.callers)
        self._arriving = 0  # requests whose recordings are not complete
        self._inside = 0  # requests that wait or run

    def application(self) -> Starlette:
        """The service as an ASGI application."""
        return Starlette(
            routes=[
                Route(PATH, self.transcriptions, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/health", self.health),
                Route("/metrics", self.metrics),
            ],
            exception_handlers={HTTPException: self._refuse, Exception: self._fail},
        )

    async def models(self, _request: Request) -> Response:
        """The one model."""
        model = {"id": self._name, "object": "model", "created": 0, "owned_by": "stablequant"}
        return JSONResponse({"object": "list", "data": [model]})

    @property
    def _full(self) -> bool:
        return self._inside >= self._limits.callers + self._limits.waiting

    async def health(self, _request: Request) -> Response:
        """Status 200 if a request would be taken, 503 if the queue is full."""
        status = {"status": "full" if self._full else "ready", "waiting": self._inside, "arriving": self._arriving}
        return JSONResponse(status, 503 if self._full else 200)

    async def metrics(self, _request: Request) -> Response:
        """In the text format of Prometheus."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def transcriptions(self, request: Request) -> Response:
        """Transcribe one recording. Only a request that has arrived waits in the queue, so slow clients fill none."""
        if self._full:
            raise Refusal(503, FULL, headers=LATER)
        if self._arriving >= self._limits.uploads:
            raise Refusal(503, "too many recordings arrive at the same time; try again later", headers=LATER)
        try:
            with self._metrics.seconds.time():
                answer = await self._answer(request)
        except ClientDisconnect:
            answer = Response(status_code=499)  # nobody reads it
        self._metrics.requests.labels(answer.status_code).inc()
        return answer

    async def _answer(self, request: Request) -> Response:
        self._arriving += 1
        try:
            form = await self._form(request)
        finally:
            self._arriving -= 1
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            await form.close()
            raise Refusal(400, "the form has no 'file'", "file")
        try:
            written = answer_in(_text(form, "response_format") or "json")
            if _text(form, "stream") == "true":
                raise Refusal(400, "answers are not streamed; leave 'stream' out", "stream")
            if self._full:
                raise Refusal(503, FULL, headers=LATER)
        except Refusal:
            await form.close()
            raise
        self._inside += 1
        self._metrics.waiting.set(self._inside)
        try:
            transcript = await self._transcribe(upload.file, request.receive)
        finally:
            self._inside -= 1
            self._metrics.waiting.set(self._inside)
        self._metrics.audio.inc(transcript.seconds)
        return written(transcript)

    async def _form(self, request: Request) -> FormData:
        """The form of a request, with the recording in a temporary file; raise `Refusal` if it is too large or slow."""
        largest = int(self._limits.upload_mb * MEGABYTE)
        limited = Request(request.scope, _at_most(request.receive, largest))
        try:
            async with asyncio.timeout(self._limits.upload_seconds):
                form = await limited.form(max_files=1, max_fields=FIELDS)
        except TimeoutError as error:
            message = f"the request did not arrive within {self._limits.upload_seconds:g} s"
            raise Refusal(408, message, headers={"Connection": "close"}) from error
        if not form:
            raise Refusal(400, "no form; send the recording as multipart/form-data", "file")
        return form

    async def _transcribe(self, recording: BinaryIO, receive: Receive) -> Transcript:
        """Recognise ``recording`` when it is its turn, and close it.

        Raises `ClientDisconnect` if the client leaves before that, as ``receive`` tells.
        """
        turn, gone = asyncio.create_task(self._free.acquire()), asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({turn, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientDisconnect
        except BaseException:
            recording.close()
            if not turn.cancel():  # it had its turn
                self._free.release()
            raise
        finally:
            gone.cancel()
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._recogniser.transcribe, recording)

        def done(finished: asyncio.Future[Transcript]) -> None:
            recording.close()
            self._free.release()
            finished.exception()  # so that the loop does not report it when nobody waits any longer

        work.add_done_callback(done)
        try:
            async with asyncio.timeout(self._limits.recognise_seconds):
                return await asyncio.shield(work)
        except TimeoutError as error:
            raise Refusal(504, f"not recognised within {self._limits.recognise_seconds:g} s") from error
        except RecordingError as error:
            raise Refusal(400, error.reason, "file") from error

    async def _refuse(self, _request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = "invalid_request_error" if error.status_code < 500 else "server_error"
        body = {"message": error.detail, "type": kind, "param": getattr(error, "parameter", None), "code": None}
        self._metrics.requests.labels(error.status_code).inc()
        return JSONResponse({"error": body}, error.status_code, error.headers)

    async def _fail(self, _request: Request, error: Exception) -> Response:
        """Any other fault: the log tells it, the client does not see it."""
        logging.error("a request failed", exc_info=error)
        self._metrics.requests.labels(500).inc()
        body = {"message": "internal error; see the service's log", "type": "server_error", "param": None, "code": None}
        return JSONResponse({"error": body}, 500)


def _at_most(receive: Receive, largest: int) -> Receive:
    """``receive``, which raises `Refusal` when more than ``largest`` bytes have come."""
    come = 0

    async def limited() -> Message:
        nonlocal come
        message = await receive()
        come += len(message.get("body", b""))
        if come > largest:
            raise Refusal(413, f"the request is larger than {largest / MEGABYTE:g} MB", "file")
        return message

    return limited


async def _until_gone(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _text(form: FormData, key: str) -> str | None:
    value = form.get(key)
    return value if isinstance(value, str) else None


def answer_in(form: str) -> Callable[[Transcript], Response]:
    """How an answer is written, by the name of its form; raise `Refusal` for an unknown one."""
    known: dict[str, Callable[[Transcript], Response]] = {
        "json": lambda found: JSONResponse({"text": found.text}),
        "verbose_json": lambda found: JSONResponse(verbose(found)),
        "text": lambda found: PlainTextResponse(found.text + "\n"),
        "srt": lambda found: PlainTextResponse(subrip(found.words)),
        "vtt": lambda found: PlainTextResponse(webvtt(found.words), media_type="text/vtt"),
    }
    if form not in known:
        raise Refusal(400, f"no response_format '{form}'; known are {', '.join(known)}", "response_format")
    return known[form]


def verbose(found: Transcript) -> dict[str, object]:
    """The content of ``verbose_json``: text, duration in seconds, segments and words with their times."""
    segments = [
        {"id": i, "start": cue[0].start, "end": cue[-1].end, "text": " ".join(word.word for word in cue)}
        for i, cue in enumerate(cues(found.words))
    ]
    return {
        "task": "transcribe",
        "duration": found.seconds,
        "text": found.text,
        "segments": segments,
        "words": [asdict(word) for word in found.words],
    }


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def protocol(head_seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, which closes connections on which the head of a request takes longer than ``head_seconds``.

    uvicorn itself waits for ever.
    """

    class Impatient(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_waiting()

        def _expect_head(self) -> None:
            """Start the clock if a head is not complete, and stop it if one is."""
            if self.conn.their_state is not h11.IDLE:
                self._stop_waiting()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(head_seconds, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Impatient


def configure(recogniser: Recogniser, name: str, host: str, port: int, limits: Limits) -> uvicorn.Config:
    """The service for uvicorn."""
    return uvicorn.Config(
        Service(recogniser, name, limits).application(),
        host=host,
        port=port,
        http=protocol(limits.upload_seconds),
        log_level="warning",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=int(limits.recognise_seconds),
        timeout_keep_alive=30,
    )


def serve(recogniser: Recogniser, name: str, host: str, port: int, limits: Limits) -> None:
    """Serve until the process gets SIGINT or SIGTERM; then answer the requests that were taken, and return."""
    if not is_loopback(host):
        logging.warning("%s is reached from other machines, and nobody is asked for a password", host)
    uvicorn.Server(configure(recogniser, name, host, port, limits)).run()
