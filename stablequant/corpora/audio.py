"""Read audio in the form that a recogniser takes: mono, float32, at its sample rate."""

import io
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from stablequant.corpora.entries import AUDIO
from stablequant.corpora.formats import containers, ffmpeg, whole
from stablequant.corpora.formats.collector import Collector
from stablequant.corpora.formats.stream import UNCHECKED, Stream, cut_off
from stablequant.corpora.formats.stream import AudioError as AudioError
from stablequant.storage.files import FileState, state_of

BLOCK = 2**20  # values decoded at once; memory is never allocated by the length that a header claims
LONGEST = 24 * 3600  # seconds
INTEGERS = {"uint8": (128, 128), "int16": (0, 2**15), "int32": (0, 2**31)}  # what is silence, and full scale
DEEPEST = 5  # folders in which recordings are looked for, to name them
FOR_FFMPEG = (1, 4)  # libsndfile's codes for a format and an encoding that it does not know
# In these formats and encodings a sample is found without decoding what lies before it.
ADDRESSED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC")
STORED = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")


@dataclass(frozen=True)
class Audio:
    """A mono recording.

    Attributes
    ----------
    samples: float32 ``(samples,)``, full scale is 1, at the requested sample rate
    file_samples: number of samples per channel in the file, before resampling
    file_rate: sample rate of the file in Hz
    channels: number of channels in the file, of which ``samples`` is the mean, or one
    notes: what the user should know of the file, see `formats.stream` and `formats.collector`
    """

    samples: np.ndarray
    file_samples: int
    file_rate: int
    channels: int = 1
    notes: tuple[str, ...] = ()


def cut(samples: np.ndarray, sample_rate: int, start: float | None, stop: float | None) -> np.ndarray:
    """``samples`` ``(samples,)`` from ``start`` to ``stop`` in seconds; all of them if these are None.

    A part is a copy: a view would keep the whole recording in memory.
    """
    if start is None or stop is None:
        return samples
    return samples[round(start * sample_rate) : round(stop * sample_rate)].copy()


def read_audio(
    source: Path | BinaryIO, sample_rate: int, *, channel: int | None = None, longest: int = LONGEST
) -> Audio:
    """Read an audio file, given as a path or opened, to its end.

    Several channels are replaced by the one with the number ``channel``, from 0, or by their mean. Audio at another
    rate is resampled to ``sample_rate`` (Hz). What libsndfile cannot read, such as M4A and WebM, is decoded by ffmpeg
    if that is installed.

    Raises
    ------
    AudioError
        when the file is missing, damaged, cut off or longer than ``longest`` seconds, when it contains NaN or infinity
        or too large samples or has no such channel, or when it needs ffmpeg, which is not installed.
    """
    return _decode(source, lambda: Collector(sample_rate, longest, channel))


def read_part(source: Path, sample_rate: int, start: float, stop: float, channel: int | None) -> np.ndarray | None:
    """What `cut` leaves of the audio that `read_audio` reads, without what lies before; float32 ``(samples,)``.

    The file was read before: it is not checked. Returns None where only decoding from the start on gives these samples,
    see `is_addressed`.
    """
    first, last = round(start * sample_rate), round(stop * sample_rate)
    with _addressed(source, sample_rate) as file:
        if file is None:
            return None
        collector = Collector(sample_rate, LONGEST, channel)
        collector.begin(file.samplerate, file.channels)
        try:
            file.seek(first)
            collector.add(file.read(last - first, dtype="float32", always_2d=True))
        except soundfile.LibsndfileError:  # the header does not tell how much there is
            return None
    return collector.samples() if collector.length == last - first else None


def is_addressed(source: Path, sample_rate: int) -> bool:
    """Whether each sample of a file can be found at once: a whole one at ``sample_rate`` (Hz), in some formats."""
    with _addressed(source, sample_rate) as file:
        return file is not None


@contextmanager
def _addressed(source: Path, sample_rate: int) -> Iterator[soundfile.SoundFile | None]:
    """A file, opened, if `is_addressed`; None otherwise."""
    with ExitStack() as opened:
        try:
            handle = opened.enter_context(source.open("rb")).fileno()
            file = opened.enter_context(soundfile.SoundFile(handle, closefd=False))
        except (OSError, soundfile.LibsndfileError):
            yield None
            return
        stored = file.format in ADDRESSED and file.subtype in STORED and file.samplerate == sample_rate
        yield file if stored and _is_plain(state_of(source)) else None


@lru_cache(maxsize=10_000)  # many parts may lie in one file
def _is_plain(state: FileState) -> bool:
    """Whether a file in this state is decoded as it is: not joined of several, and with nothing wrong in its header."""
    with state.path.open("rb") as file:
        try:
            stream = whole.check(file)
        except AudioError:
            return False
    return len(stream.parts) == 1 and not stream.notes and not stream.through_pipe


def audio_of(values: np.ndarray, rate: int, sample_rate: int, longest: int = LONGEST) -> Audio:
    """Samples in memory at ``rate`` Hz, as `read_audio` would read them from a file.

    ``values`` is ``(samples,)`` or, as soundfile has it, ``(samples, channels)``. Floating-point samples have a full
    scale of 1. Of int16 and int32 it is the largest integer; of uint8 it is 128, and 128 is silence.

    Raises
    ------
    AudioError
        when it is no audio, longer than ``longest`` seconds, or contains NaN, infinity or too large samples.
    """
    shape = " x ".join(str(size) for size in values.shape)
    if values.ndim not in (1, 2) or (values.ndim == 2 and not 0 < values.shape[1] <= max(1, len(values))):
        raise AudioError(f"an array of {shape}; give it as samples, or as samples x channels")
    if values.dtype.name in INTEGERS:
        silence, scale = INTEGERS[values.dtype.name]
        scaled = ((values.astype(np.float64) - silence) / scale).astype(np.float32)
    elif np.issubdtype(values.dtype, np.floating):
        scaled = values.astype(np.float32)
    else:
        raise AudioError(f"an array of {values.dtype}; give float32, int16, int32 or uint8")
    collector = Collector(sample_rate, longest)
    collector.begin(rate, 1 if scaled.ndim == 1 else scaled.shape[1])
    collector.add(scaled.reshape(len(scaled), collector.channels))
    return _audio(collector)


def _audio(collector: Collector, notes: tuple[str, ...] = ()) -> Audio:
    return Audio(collector.samples(), collector.length, collector.rate, collector.channels, notes + collector.notes)


def file_samples(source: Path) -> int:
    """Number of samples per channel in an audio file, see `read_audio`."""
    return _decode(source, lambda: Collector(None, LONGEST)).file_samples


def check_is_file(source: Path) -> None:
    """Raise AudioError if ``source`` is no file, or a link to one that is not here."""
    with _as_audio_error():
        if source.is_symlink() and not source.exists():
            remedy = "fetch it (git annex get, dvc pull, hf download)"
            raise AudioError(f"a link to '{source.readlink()}', which is not here; {remedy}")
        if not source.is_file():
            if source.is_dir():
                raise AudioError(_fault_of(source))
            raise AudioError("not a file" if source.exists() else "the file does not exist")


@contextmanager
def _as_audio_error() -> Iterator[None]:
    """Raise AudioError for an error of the operating system."""
    try:
        yield
    except OSError as error:
        raise AudioError(f"it cannot be opened ({error.strerror})") from error


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    """``source``, opened."""
    if not isinstance(source, Path):
        yield source if _is_direct(source) else io.BytesIO(_whole(source))
        return
    check_is_file(source)
    with _as_audio_error():
        file = source.open("rb")
    with file:
        yield file


def _is_direct(source: BinaryIO) -> bool:
    """Whether an open file lies in memory or on disk, as `_handle` needs it.

    A file inside an archive has no descriptor, and that of a compressed one leads to the compressed content.
    """
    in_memory = isinstance(source, io.BytesIO | tempfile.SpooledTemporaryFile)
    return in_memory or (isinstance(getattr(source, "raw", source), io.FileIO) and source.seekable())


def _whole(source: BinaryIO) -> bytes:
    """The content of an open file from its start, or what is left if that cannot be reached."""
    with suppress(AttributeError, OSError):
        source.seek(0)
    return source.read()


def _fault_of(folder: Path) -> str:
    """That it is no recording, and how to name those in it, which may lie some folders deeper."""
    for deeper in range(DEEPEST):
        found = next((file for file in folder.glob("*/" * deeper + "*") if file.suffix.lower() in AUDIO), None)
        if found is not None:
            return f"not a file but a folder; name the recordings in it: {folder}/{'*/' * deeper}*{found.suffix}"
    return "not a file but a folder, in which no recordings were found"


def _decode(source: Path | BinaryIO, collector: Callable[[], Collector]) -> Audio:
    """Decode a recording into a new ``collector``."""
    with _opened(source) as file:
        stream = whole.check(file)
        try:
            return _audio(_decode_stream(stream, collector()), stream.notes)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".")
            if error.code not in FOR_FFMPEG and not stream.by_ffmpeg:
                raise AudioError(f"damaged or not audio ({reason})") from error
            if str(getattr(file, "name", "")).lower().endswith((".raw", ".pcm")):
                raise AudioError("raw samples without a header; convert them to WAV or FLAC") from error
            if ffmpeg.is_installed():
                notes = tuple(note for note in stream.notes if note != UNCHECKED)
                return _audio(ffmpeg.decode(file, collector()), notes)
            name = containers.name(file)
            if name is None:
                fault = f"damaged or not audio ({reason}); if only ffmpeg reads it, {ffmpeg.REMEDY}"
                raise AudioError(fault) from error
            raise AudioError(f"{name} is read by ffmpeg, which is not installed; {ffmpeg.REMEDY}") from error


def _decode_stream(stream: Stream, collector: Collector) -> Collector:
    """``collector``, with all parts of ``stream`` as libsndfile decodes them."""
    for part in stream.parts:
        before = collector.length
        with _piped(part) if stream.through_pipe else _handle(part) as handle:
            announced = _decode_part(handle, collector)
        if stream.samples is None and collector.length - before < announced:
            raise cut_off(collector.length - before, announced, "samples")
    if stream.samples is not None and collector.length < stream.samples:
        raise cut_off(collector.length, stream.samples, "samples")
    return collector


def _decode_part(handle: BinaryIO | int, collector: Collector) -> int:
    """Decode one file; return how many samples libsndfile announces."""
    with soundfile.SoundFile(handle, closefd=False) as file:
        collector.begin(file.samplerate, file.channels)
        while len(block := file.read(max(1, BLOCK // file.channels), dtype="float32", always_2d=True)):
            collector.add(block)
        return int(file.frames)


@contextmanager
def _handle(part: BinaryIO) -> Iterator[BinaryIO | int]:
    """What soundfile opens: memory, or an open file by its number, as soundfile would guess a format from its name."""
    part.seek(0)
    if isinstance(part, io.BytesIO):
        yield part
    else:
        os.lseek(part.fileno(), 0, os.SEEK_SET)  # Python may have read ahead
        yield part.fileno()


@contextmanager
def _piped(part: BinaryIO) -> Iterator[int]:
    """The reading end of a pipe through which ``part`` comes."""
    part.seek(0)
    reading, writing = os.pipe()

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
            shutil.copyfileobj(part, pipe)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield reading
    finally:
        os.close(reading)
        writer.join()
