"""An HTTP service that transcribes with a bundle, with the interface that speech clients of OpenAI already speak.

``POST /v1/audio/transcriptions`` takes a recording as a form and answers in ``json``, ``verbose_json``, ``text``,
``srt`` or ``vtt``. ``GET /v1/models`` names the model, ``GET /health`` tells whether requests are taken, and ``GET
/metrics`` is for Prometheus.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive

from stablequant.bundle.answers import Refusal, answer_in, check_language
from stablequant.bundle.listening import Server, is_loopback, protocol
from stablequant.bundle.queue import Queue, Transcribes
from stablequant.bundle.transcribe import RecordingError, Transcript
from stablequant.recognisers.sizes import MEGABYTE

FIELDS = 20  # most fields of a form
FIELD_BYTES = 1 << 16  # of one of them; they are kept in memory
CONNECTIONS = 512  # most connections, so that there are enough file numbers
PATH = "/v1/audio/transcriptions"
LANGUAGES = ("language", "languages", "languages[]")  # names of fields; clients add brackets to the name of a list
MISSING = "the form has no 'file'; send the recording as the field 'file' of a form, multipart/form-data"
TEXT = "'file' is a text, not a recording; send its content, as by curl -F file=@recording.flac"
FULL = "the queue is full; try again later"
LATER = {"Retry-After": "5"}


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
    recognise_seconds: time after an upload in which its recording must be recognised, from waiting to its end; then its
        client gets status 504
    """

    upload_mb: float = 100
    callers: int = 2
    waiting: int = 32
    uploads: int = 64
    upload_seconds: float = 60
    recognise_seconds: float = 600


class Metrics:
    """What ``/metrics`` tells."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("stablequant_requests", "Answered, by status", ["status"], registry=self.registry)
        self.waiting = Gauge("stablequant_requests_waiting", "Recordings that wait or run", registry=self.registry)
        self.audio = Counter("stablequant_audio_seconds", "Recognised audio", registry=self.registry)
        self.seconds = Histogram("stablequant_request_seconds", "From upload to answer", registry=self.registry)


class Service:
    """The routes of the service.

    ``name`` is what clients see as the model's name, and ``language`` the code of the language of the recogniser's
    words, None if it is not known.
    """

    def __init__(self, recogniser: Transcribes, name: str, limits: Limits, language: str | None = None) -> None:
        self._name, self._limits, self._language = name, limits, language
        self._queue = Queue(recogniser, limits.callers, limits.waiting, limits.recognise_seconds)
        self._arriving = 0  # requests whose recordings are not complete
        self._metrics = Metrics()
        self._metrics.waiting.set_function(lambda: self._queue.inside)

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

    async def health(self, _request: Request) -> Response:
        """Status 200 if a request would be taken, 503 if the queue is full."""
        full, waiting = self._queue.full, self._queue.inside
        status = {"status": "full" if full else "ready", "waiting": waiting, "arriving": self._arriving}
        return JSONResponse(status, 503 if full else 200)

    async def metrics(self, _request: Request) -> Response:
        """In the text format of Prometheus."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def transcriptions(self, request: Request) -> Response:
        """Transcribe one recording. Only a request that has arrived waits in the queue, so slow clients fill none."""
        if self._queue.full:
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
            raise Refusal(400, MISSING if upload is None else TEXT, "file")
        try:
            written = answer_in(_text(form, "response_format") or "json", self._language)
            check_language(_texts(form, LANGUAGES), self._language)
            if (_text(form, "stream") or "").lower() in ("true", "1"):
                raise Refusal(400, "answers are not streamed; leave 'stream' out", "stream")
            if self._queue.full:
                raise Refusal(503, FULL, headers=LATER)
        except Refusal:
            await form.close()
            raise
        transcript = await self._transcribe(upload.file, request.receive)
        self._metrics.audio.inc(transcript.seconds)
        return written(transcript)

    async def _form(self, request: Request) -> FormData:
        """The form of a request, with the recording in a temporary file.

        Raises `Refusal` if it is too large or slow, or no form that can be decoded.
        """
        largest = int(self._limits.upload_mb * MEGABYTE)
        limited = Request(request.scope, _at_most(request.receive, largest))
        try:
            async with asyncio.timeout(self._limits.upload_seconds):
                form = await limited.form(max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES)
        except TimeoutError as error:
            message = f"the request did not arrive within {self._limits.upload_seconds:g} s"
            raise Refusal(408, message, headers={"Connection": "close"}) from error
        except UnicodeError as error:  # a charset that Python has for other uses, such as punycode
            raise Refusal(400, "the form cannot be decoded with its charset; send it in UTF-8") from error
        if not form:
            raise Refusal(400, "no form; send the recording as multipart/form-data", "file")
        return form

    async def _transcribe(self, recording: BinaryIO, receive: Receive) -> Transcript:
        """See `Queue.transcribe`; a recording that takes too long or cannot be used is refused."""
        try:
            return await self._queue.transcribe(recording, receive)
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


def _texts(form: FormData, keys: Sequence[str]) -> list[str]:
    """The texts in the fields ``keys`` of ``form`` that are not empty."""
    return [value for key in keys for value in form.getlist(key) if isinstance(value, str) and value]


def _text(form: FormData, key: str) -> str | None:
    return next(iter(_texts(form, [key])), None)


def configure(
    recogniser: Transcribes, name: str, host: str, port: int, limits: Limits, language: str | None = None
) -> uvicorn.Config:
    """The service for uvicorn. It ends when what was taken is answered, for which the limits leave time.

    ``language`` is that of the recogniser's words, such as ``en``; None if it is not known.
    """
    return uvicorn.Config(
        Service(recogniser, name, limits, language).application(),
        host=host,
        port=port,
        http=protocol(limits.upload_seconds),
        log_level="warning",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=math.ceil(limits.upload_seconds + limits.recognise_seconds) + 1,
        timeout_keep_alive=30,
    )


def serve(config: uvicorn.Config, listening: Callable[[str], None]) -> None:
    """Serve until the process gets SIGINT or SIGTERM; then answer the requests that were taken, and return.

    ``listening`` is called once requests are taken, with the addresses for clients.
    """
    if not is_loopback(config.host):
        logging.warning("%s is reached from other machines, and nobody is asked for a password", config.host)
    Server(config, listening).run()
