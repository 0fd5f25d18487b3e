"""What a job asks of a cluster, estimated before it runs. Imported while the Snakefile is parsed.

The constants lie above what was measured with random HuBERTs of 378 MB (base) and 1262 MB (large) on cores of an AMD
EPYC; what they miss, a retry's growth makes up for.
"""

import csv
import math
from pathlib import Path

MB = 1_000_000
HUB_BYTES = 1500 * MB  # of a checkpoint on the hub that was not downloaded yet, as most large ones have
PROCESS_MB = 1900  # of Python and torch
START_MINUTES = 10  # of two Snakemakes and Python on a slow file system
SECONDS_PER_MB = 0.5  # to load, convert, export or build a checkpoint
SECONDS_PER_MB_AND_AUDIO_SECOND = 0.004  # to recognise on one core
GPU_SPEED = 20  # times one core; assumed, not measured


def file_bytes(files: list[str]) -> int:
    """Size of files together."""
    return sum(Path(file).stat().st_size for file in files)


def audio_seconds(utterances: Path, sample_rate: int) -> float:
    """Length of all utterances of a table. Raises FileNotFoundError while there is none, which Snakemake waits for."""
    with utterances.open(encoding="utf-8", newline="") as file:
        return sum(int(row["samples"]) for row in csv.DictReader(file, delimiter="\t")) / sample_rate


def memory_mb(size: int, copies: int, batch_mb: float, attempt: int) -> int:
    """Megabytes for a job that holds a checkpoint of ``size`` bytes ``copies`` times, and a batch's hidden values.

    Doubled by every ``attempt``.
    """
    return _grown(PROCESS_MB + copies * size / MB + batch_mb, attempt)


def runtime_minutes(size: int, seconds: float, gpu: bool, attempt: int) -> int:
    """Minutes for a job that lets a checkpoint of ``size`` bytes recognise ``seconds`` of audio, doubled likewise."""
    recognising = SECONDS_PER_MB_AND_AUDIO_SECOND * seconds / (GPU_SPEED if gpu else 1)
    return _grown(START_MINUTES + size / MB * (SECONDS_PER_MB + recognising) / 60, attempt)


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA device."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _grown(amount: float, attempt: int) -> int:
    return math.ceil(amount) * 2 ** (attempt - 1)
