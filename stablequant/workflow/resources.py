"""Estimates of the memory and time that a job needs. The Snakefile imports this module while it is parsed.

The constants lie above the values that were measured with random HuBERTs of 378 MB (base) and 1262 MB (large) on cores
of an AMD EPYC. If an estimate is too low, the job is tried again with twice the amount.
"""

import csv
import math
from pathlib import Path

MB = 1_000_000
HUB_BYTES = 1500 * MB  # assumed size of a checkpoint that is not downloaded yet; most large ones have about this size
PROCESS_MB = 1900  # memory of Python and torch
START_MINUTES = 10  # to start two Snakemakes and Python on a slow file system
SECONDS_PER_MB = 0.5  # to load, convert, export or build a checkpoint
SECONDS_PER_MB_AND_AUDIO_SECOND = 0.004  # to recognise on one core
GPU_SPEED = 20  # speed of a GPU, in cores; assumed, not measured


def file_bytes(files: list[str]) -> int:
    """Total size of ``files`` in bytes."""
    return sum(Path(file).stat().st_size for file in files)


def audio_seconds(utterances: Path, sample_rate: int) -> float:
    """Total length in seconds of the utterances in the table ``utterances``, whose ``sample_rate`` is in Hz.

    Raises FileNotFoundError if the table does not exist yet. Snakemake then asks again later.
    """
    with utterances.open(encoding="utf-8", newline="") as file:
        return sum(int(row["samples"]) for row in csv.DictReader(file, delimiter="\t")) / sample_rate


def memory_mb(size: int, copies: int, batch_mb: float, attempt: int) -> int:
    """Megabytes for a job that holds ``copies`` copies of a checkpoint of ``size`` bytes, and ``batch_mb`` for a batch.

    The first ``attempt`` is 1. Each further attempt doubles the result.
    """
    return _grown(PROCESS_MB + copies * size / MB + batch_mb, attempt)


def runtime_minutes(size: int, seconds: float, gpu: bool, attempt: int) -> int:
    """Minutes for a job that recognises ``seconds`` of audio with a checkpoint of ``size`` bytes.

    The first ``attempt`` is 1. Each further attempt doubles the result.
    """
    recognising = SECONDS_PER_MB_AND_AUDIO_SECOND * seconds / (GPU_SPEED if gpu else 1)
    return _grown(START_MINUTES + size / MB * (SECONDS_PER_MB + recognising) / 60, attempt)


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _grown(amount: float, attempt: int) -> int:
    grown: int = math.ceil(amount) * 2 ** (attempt - 1)
    return grown
