"""Decode by ffmpeg what libsndfile cannot read: M4A, WebM, WMA and others.

The files are strangers' files. So ffmpeg may open no network address and no playlist, which could name other files, and
its time and memory are limited.
"""

import os
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from stablequant.corpora.formats.collector import Collector
from stablequant.corpora.formats.stream import AudioError, read_at

# ffmpeg's readers of single files. Those that open further files (hls, dash, concat, image2) are not among them.
DEMUXERS = (
    *("aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dsf", "eac3", "flac", "flv", "matroska", "webm"),
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "ogg", "oma", "tta", "w64"),
    *("wav", "wv"),
)
TIME_LIMIT = 600  # seconds
MEMORY_LIMIT = 1 << 30  # bytes that ffmpeg may allocate at once
BLOCK = 1 << 20  # values that are read at once
REMEDY = "install ffmpeg (apt-get install ffmpeg), or convert the file to FLAC"


def is_installed() -> bool:
    """Whether ffmpeg is installed."""
    return shutil.which("ffmpeg") is not None


def decode(file: BinaryIO, collector: Collector) -> Collector:
    """``collector``, with the first audio stream of ``file``, an open file of any kind.

    Raises
    ------
    AudioError
        when ffmpeg finds no audio or any fault in it, or needs too long, or when the collector refuses its samples.
    """
    with _on_disk(file) as path, tempfile.TemporaryFile() as messages:
        command = [
            *("ffmpeg", "-nostdin", "-v", "error", "-xerror", "-max_alloc", str(MEMORY_LIMIT)),
            *("-protocol_whitelist", "file,pipe", "-format_whitelist", ",".join(DEMUXERS)),
            *("-i", f"file:{path.absolute()}", "-map", "0:a:0"),
            *("-c:a", "pcm_f32be", "-f", "au", "pipe:1"),
        ]
        with _started(command, messages) as process:
            clock = threading.Timer(TIME_LIMIT, process.kill)
            clock.start()
            try:
                assert process.stdout is not None
                _read_au(process.stdout, collector)
                status = process.wait()
            except BaseException:
                process.kill()
                raise
            finally:
                in_time = clock.is_alive()
                clock.cancel()
        messages.seek(0)
        said = messages.read(10_000).decode(errors="replace").replace(f"file:{path.absolute()}: ", "").splitlines()
    if not in_time:
        raise AudioError(f"ffmpeg needs more than {TIME_LIMIT} s to decode it")
    if status or said or not collector.rate:
        reason = said[0].partition("] ")[2] or said[0] if said else f"exit status {status}"
        if "whitelist" in reason:
            reason = "format not recognised"
        raise AudioError(f"damaged or not audio (ffmpeg: {reason[:200]})")
    return collector


def _started(command: list[str], messages: IO[bytes]) -> subprocess.Popen[bytes]:
    """ffmpeg, which writes to a pipe. Ctrl-C in a terminal reaches the program that waits for it only.

    So a service that was interrupted can answer what it took. If the program is killed, ffmpeg ends with the pipe.
    """
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages, start_new_session=True
    )


@contextmanager
def _on_disk(file: BinaryIO) -> Iterator[Path]:
    """The path of an open file; of a copy if it has none, as what lies in memory or was replaced."""
    name = getattr(file, "name", None)
    if isinstance(name, str) and _leads_to(Path(name), file):
        yield Path(name)
        return
    with tempfile.NamedTemporaryFile(prefix="stablequant-") as copy:
        copy.write(read_at(file, 0))
        copy.flush()
        yield Path(copy.name)


def _leads_to(path: Path, file: BinaryIO) -> bool:
    """Whether the open ``file`` is the one at ``path``. What lies in memory may have the name of another file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (AttributeError, OSError, ValueError):  # no descriptor, no such file, or no possible name
        return False


def _read_au(pipe: IO[bytes], collector: Collector) -> None:
    """Give ``collector`` the samples of AU in float32, as far as they come."""
    head = pipe.read(24)
    if len(head) < 24:
        return
    start, _, _, rate, channels = struct.unpack(">4xIIIII", head)
    collector.begin(rate, channels)
    pipe.read(start - len(head))
    while block := pipe.read(4 * channels * max(1, BLOCK // channels)):
        values = np.frombuffer(block[: len(block) // (4 * channels) * 4 * channels], dtype=">f4")
        collector.add(values.reshape(-1, channels))
