"""Transcribe recordings of any length: words with their times."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stablequant.bundle.write_bundle import Bundle, read_bundle
from stablequant.corpora.audio import LONGEST, AudioError, read_audio
from stablequant.engines.running import load_engine, max_batch
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Decoder, NotFiniteError, Word
from stablequant.recognisers.sizes import MEGABYTE

SHORTEST_CHUNK = 4.0  # seconds; chunks must be longer than this because neighbouring chunks overlap


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
    """

    def __init__(
        self, bundle: Bundle, decoder: Decoder, arithmetic: str, batch_mb: float, chunk_seconds: float, most: float
    ) -> None:
        self.bundle = bundle
        self.arithmetic = arithmetic
        self._decoder = decoder
        self._most = most
        self._budget = batch_mb * MEGABYTE
        self._chunk_seconds = chunk_seconds
        self._sample_rate = bundle.family.sample_rate(bundle.folder)

    def transcribe(self, source: Path | str | BinaryIO) -> Transcript:
        """Recognise a recording: a file in a format that soundfile reads, or an open binary file.

        Audio at another sample rate is resampled, and several channels are mixed. A recording longer than a chunk is
        cut into chunks that overlap, so that no word is cut.

        Raises
        ------
        RecordingError
            when the audio is missing, damaged or empty, or when it contains NaN or infinity.
        StableQuantError
            when the network's output contains NaN or infinity.
        """
        name = source if isinstance(source, Path | str) else "standard input"
        try:
            audio = read_audio(Path(source) if isinstance(source, str) else source, self._sample_rate, mix=True)
        except AudioError as error:
            raise RecordingError(name, str(error)) from error
        if not len(audio.samples):
            raise RecordingError(name, "no audio in it")
        try:
            words = self._decoder.transcribe(audio.samples, self._chunk_seconds, self._budget, self._most)
        except NotFiniteError as error:
            raise StableQuantError(
                self.bundle.folder, "its network's output contains NaN or infinity", "build it again"
            ) from error
        text = " ".join(word.word for word in words)
        return Transcript(text, len(audio.samples) / self._sample_rate, words)


def load_bundle(
    folder: Path | str,
    threads: int = 0,
    batch_mb: float = 400,
    chunk_seconds: float = 30,
    backend: str = "openvino",
) -> Transcriber:
    """Load one engine of the bundle in ``folder``.

    Parameters
    ----------
    threads: CPU threads; 0 takes all cores
    batch_mb: megabytes for the hidden values of the chunks that are recognised at once
    chunk_seconds: length of a chunk, more than `SHORTEST_CHUNK`; best about as long as the training utterances
    backend: name of the engine's backend

    Raises
    ------
    StableQuantError
        when the bundle is damaged, or when the engine is missing or cannot run here.
    ValueError
        when ``chunk_seconds`` is too short or longer than a day.
    """
    if not SHORTEST_CHUNK < chunk_seconds <= LONGEST:
        raise ValueError(f"chunks of {chunk_seconds} s; take more than {SHORTEST_CHUNK:g} and at most {LONGEST}")
    bundle = read_bundle(Path(folder))
    engine = bundle.engine(backend)
    loaded = load_engine(engine, threads)
    decoder = bundle.family.decoder(engine, loaded.networks)
    return Transcriber(bundle, decoder, loaded.arithmetic, batch_mb, chunk_seconds, max_batch(engine))
