"""Transcribe recordings of any length: words with their times."""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np

from stablequant.bundle.choose_engine import choose_engine
from stablequant.bundle.read_bundle import Bundle, read_bundle
from stablequant.corpora.audio import LONGEST, Audio, AudioError, audio_of, read_audio
from stablequant.engines.running import load_engine, longest_input, max_batch
from stablequant.errors import StableQuantError
from stablequant.recognisers.decoder import (
    BatchDecoder,
    BeamSearch,
    Decoder,
    NotFiniteError,
    SearchingDecoder,
    Word,
    text_of,
)
from stablequant.recognisers.sizes import MEGABYTE

SHORTEST_CHUNK = 4.0  # seconds; chunks must be longer than this because neighbouring chunks overlap
CHUNK_RANGE = 5.0, 30.0  # seconds; range of the default length of chunks
UNKNOWN_CHUNK = 10.0  # seconds; the default for a bundle that does not say what it was calibrated on

Source = Path | str | bytes | BinaryIO | np.ndarray  # one recording


class RecordingError(StableQuantError):
    """A recording that cannot be transcribed; ``reason`` is the message without the recording's name."""

    def __init__(self, place: Path | str, fault: str) -> None:
        remedy = "give a recording that can be read"
        super().__init__(place, fault, remedy)
        self.reason = f"{fault}; {remedy}"


@dataclass(frozen=True)
class Transcript:
    """The text and the words recognised in one recording, which is ``seconds`` long."""

    text: str
    seconds: float
    words: list[Word]


class Transcriber:
    """A quantized recogniser that is ready to transcribe. `load_bundle` creates it.

    Many threads may share one: each caller gets the words of its own recording. In asyncio, call `transcribe` through
    ``asyncio.to_thread``.

    Attributes
    ----------
    bundle: the bundle it was loaded from
    arithmetic: arithmetic of the quantized layers on this machine: ``int8``, ``int8 and bfloat16`` or ``float32``
    chunk_seconds: length of the chunks of longer recordings
    language: code of the language that it writes, such as ``en``; None if the bundle does not say
    """

    def __init__(
        self,
        bundle: Bundle,
        decoder: Decoder,
        arithmetic: str,
        batch_mb: float,
        chunk_seconds: float,
        max_utterances: float,
        longest_seconds: int = LONGEST,
    ) -> None:
        self.bundle = bundle
        self.arithmetic = arithmetic
        self.chunk_seconds = chunk_seconds
        self._decoder = decoder
        self._max_utterances = max_utterances
        self._budget = batch_mb * MEGABYTE
        self._longest = longest_seconds
        front_end = bundle.family.front_end(bundle.folder)
        self._sample_rate, self.language = front_end.sample_rate, front_end.language

    @overload
    def transcribe(self, source: Source, sample_rate: int | None = None) -> Transcript: ...

    @overload
    def transcribe(
        self, source: list[Source] | tuple[Source, ...], sample_rate: int | None = None
    ) -> list[Transcript]: ...

    def transcribe(
        self, source: Source | list[Source] | tuple[Source, ...], sample_rate: int | None = None
    ) -> Transcript | list[Transcript]:
        """Recognise a recording, or a list of several, which are recognised together where that is faster.

        A recording is a file, its bytes, an open binary file, or an array ``(samples,)`` or ``(samples, channels)``,
        whose rate is ``sample_rate`` (Hz). Files are in a format that soundfile or ffmpeg reads. Audio at another rate
        is resampled, and several channels are mixed. A recording longer than a chunk is cut into chunks that overlap,
        so that no word is cut.

        Words have times and, if the recogniser gives one, a confidence between 0 and 1, see
        `stablequant.recognisers.decoder.Word`.

        Raises
        ------
        RecordingError
            when the audio is missing, damaged, too long or empty, or when it contains NaN or infinity.
        StableQuantError
            when the network's output contains NaN or infinity.
        """
        several = isinstance(source, list | tuple)
        sources = list(source) if isinstance(source, list | tuple) else [source]
        recordings = [
            self._read(one, f"recording {number}" if several else "the recording", sample_rate)
            for number, one in enumerate(sources, start=1)
        ]
        try:
            found = self._recognise([audio.samples for audio in recordings])
        except NotFiniteError as error:
            raise StableQuantError(
                self.bundle.folder, "its network's output contains NaN or infinity", "build it again"
            ) from error
        transcripts = [
            Transcript(text_of(words), len(audio.samples) / self._sample_rate, words)
            for audio, words in zip(recordings, found, strict=True)
        ]
        return transcripts if several else transcripts[0]

    def _recognise(self, recordings: Sequence[np.ndarray]) -> list[list[Word]]:
        limits = self.chunk_seconds, self._budget, self._max_utterances
        if isinstance(self._decoder, BatchDecoder):
            return self._decoder.transcribe_all(recordings, *limits)
        return [self._decoder.transcribe(samples, *limits) for samples in recordings]

    def _read(self, source: Source, unnamed: str, sample_rate: int | None) -> Audio:
        """The audio of one recording; ``unnamed`` is its name in messages if it is no file."""
        name = source if isinstance(source, Path | str) else unnamed
        try:
            audio = self._audio(source, sample_rate)
        except AudioError as error:
            raise RecordingError(name, str(error)) from error
        for note in audio.notes:
            logging.warning("%s: %s", name, note)
        if not len(audio.samples):
            raise RecordingError(name, "no audio in it")
        return audio

    def _audio(self, source: Source, sample_rate: int | None) -> Audio:
        if isinstance(source, str):
            source = Path(source)
        elif isinstance(source, bytes | bytearray | memoryview):
            source = io.BytesIO(source)
        elif hasattr(source, "__array__"):  # of numpy, or a tensor on the CPU
            if sample_rate is None:
                raise AudioError("an array without its sample rate; call transcribe(array, sample_rate=...)")
            return audio_of(np.asarray(source), sample_rate, self._sample_rate, self._longest)
        elif isinstance(source, io.TextIOBase):
            raise AudioError("a file that was opened as text; open it with mode 'rb'")
        elif not isinstance(source, Path) and not hasattr(source, "read"):
            raise AudioError(f"a recording of type {type(source).__name__}; give a path, bytes, a file or an array")
        return read_audio(source, self._sample_rate, longest=self._longest)


def load_bundle(
    folder: Path | str,
    threads: int = 0,
    batch_mb: float = 400,
    chunk_seconds: float | None = None,
    backend: str | None = None,
    search: BeamSearch | None = None,
    longest_seconds: int = LONGEST,
    cache: Path | None = None,
) -> Transcriber:
    """Load one engine of the bundle in ``folder``.

    Parameters
    ----------
    threads: CPU threads; 0 takes all cores
    batch_mb: megabytes for the hidden values of the chunks that are recognised at once
    chunk_seconds: length of a chunk, more than 4 s; None takes what suits the calibration audio, see `default_chunk`
    backend: name of the engine's backend; None takes the first engine that runs on this machine
    search: a language model and hot words to search with; None takes the most probable letters
    longest_seconds: longer recordings are refused; a day by default
    cache: a folder of your own where OpenVINO keeps what it compiles, so that a large recogniser loads faster next time

    Raises
    ------
    StableQuantError
        when the bundle is damaged, when the engine is missing or cannot run here, or when ``search`` is not possible.
    ValueError
        when ``chunk_seconds`` is too short or longer than a day.
    """
    if chunk_seconds is not None and not SHORTEST_CHUNK < chunk_seconds <= LONGEST:
        raise ValueError(f"chunks of {chunk_seconds} s; take more than {SHORTEST_CHUNK:g} and at most {LONGEST}")
    bundle = read_bundle(Path(folder))
    engine = choose_engine(bundle, backend)
    loaded = load_engine(engine, threads, cache)
    decoder = bundle.family.decoder(engine, loaded.networks)
    if search is not None:
        decoder = searching(decoder, search, bundle)
    if chunk_seconds is None:
        chunk_seconds = default_chunk(bundle, longest_input(engine))
    batch = max_batch(engine)
    return Transcriber(bundle, decoder, loaded.arithmetic, batch_mb, chunk_seconds, batch, longest_seconds)


def default_chunk(bundle: Bundle, longest_samples: float) -> float:
    """Seconds of a chunk that suit a recogniser: a length that it was calibrated on, and that its engine takes.

    A recogniser with a window gets its window. Any other gets the length that nine tenths of its calibration utterances
    do not exceed, because many recognisers get worse on much longer audio, but at least 5 s and at most 30 s.
    ``longest_samples`` is the longest input of the engine.
    """
    front_end = bundle.family.front_end(bundle.folder)
    rate = front_end.sample_rate
    if front_end.longest_samples < np.inf:
        return front_end.longest_samples / rate
    shortest, longest = CHUNK_RANGE
    calibrated = bundle.record.get("calibration", {}).get("p90_seconds", UNKNOWN_CHUNK)
    return min(max(float(calibrated), shortest), longest, max(longest_samples / rate, SHORTEST_CHUNK + 0.01))


def searching(decoder: Decoder, settings: BeamSearch, bundle: Bundle) -> SearchingDecoder:
    """``decoder``, which searches with ``settings``; raise `StableQuantError` if its family cannot."""
    if not isinstance(decoder, SearchingDecoder):
        raise StableQuantError(
            bundle.folder,
            f"a recogniser of the family {bundle.family.name} writes by a language model of its own",
            "leave out the language model and the hot words, which are for CTC recognisers",
        )
    return decoder.searching(settings)


def read_hot_words(file: Path) -> list[str]:
    """Hot words or phrases, one per line of ``file``; raise `StableQuantError` if it cannot be read or has none."""
    try:
        words = [" ".join(line.split()) for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise StableQuantError(file, "not text in UTF-8", "write one hot word per line") from error
    except OSError as error:
        raise StableQuantError(file, f"it cannot be read ({error.strerror})", "name a file of hot words") from error
    if not words:
        raise StableQuantError(file, "no hot words in it", "write one hot word per line")
    return words
