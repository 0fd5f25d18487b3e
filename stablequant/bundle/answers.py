"""What the service answers: transcripts in the forms of OpenAI's interface, and refusals."""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from stablequant.bundle.subtitles import cues, subrip, webvtt
from stablequant.bundle.transcribe import Transcript
from stablequant.recognisers.decoder import Word, text_of

UNKNOWN = "unknown"  # in place of a language
LEAST = 0.0001  # confidence of a word that was rounded to 0, for its logarithm


class Refusal(HTTPException):
    """A request that is refused; the answer has the form of OpenAI's errors."""

    def __init__(
        self, status: int, message: str, parameter: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.parameter = parameter


def check_language(asked: Sequence[str], written: str | None) -> None:
    """Raise `Refusal` if a client names languages, and none of them is ``written``, the recogniser's, which is known.

    Countries are not compared: a recogniser of ``en`` is one of ``en-US``.
    """
    if written is not None and asked and _language_in(written) not in map(_language_in, asked):
        message = f"this model writes '{written}', not '{', '.join(asked)}'; leave 'language' out, or ask another model"
        raise Refusal(400, message, "language")


def _language_in(tag: str) -> str:
    """The language in a tag such as ``en-US``."""
    return tag.strip().replace("_", "-").split("-")[0].lower()


def answer_in(form: str, language: str | None = None) -> Callable[[Transcript], Response]:
    """How an answer is written, by the name of its form; raise `Refusal` for an unknown one."""
    known: dict[str, Callable[[Transcript], Response]] = {
        "json": lambda found: JSONResponse({"text": found.text}),
        "verbose_json": lambda found: JSONResponse(verbose(found, language)),
        "text": lambda found: PlainTextResponse(found.text + "\n"),
        "srt": lambda found: PlainTextResponse(subrip(found.words)),
        "vtt": lambda found: PlainTextResponse(webvtt(found.words), media_type="text/vtt"),
    }
    if form not in known:
        raise Refusal(400, f"no response_format '{form}'; known are {', '.join(known)}", "response_format")
    return known[form]


def verbose(found: Transcript, language: str | None = None) -> dict[str, object]:
    """The content of ``verbose_json``: text, duration in seconds, segments and words with their times.

    It has every field of ``TranscriptionVerbose`` and ``TranscriptionSegment`` in OpenAI's interface.
    """
    return {
        "task": "transcribe",
        "language": language or UNKNOWN,
        "duration": found.seconds,
        "text": found.text,
        "segments": [segment(number, cue) for number, cue in enumerate(cues(found.words))],
        "words": [asdict(word) for word in found.words],
    }


def segment(number: int, words: Sequence[Word]) -> dict[str, object]:
    """A segment of ``verbose_json``.

    ``avg_logprob`` is the mean logarithm of the words' confidences, 0 if they have none. ``compression_ratio`` is
    computed as Whisper's authors do. There is no sampling, so the ``temperature`` is 0. Tokens, the place in the
    decoder's window and the probability that nobody speaks are not known: ``tokens`` is empty, ``seek`` and
    ``no_speech_prob`` are 0.
    """
    text = text_of(words)
    heard = [math.log(max(word.confidence, LEAST)) for word in words if word.confidence is not None]
    written = text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": words[0].start,
        "end": words[-1].end,
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(sum(heard) / len(heard), 4) if heard else 0.0,
        "compression_ratio": round(len(written) / len(zlib.compress(written)), 4),
        "no_speech_prob": 0.0,
    }
