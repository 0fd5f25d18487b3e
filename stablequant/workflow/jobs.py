"""What every job of the workflow does around its work: a log, and a clean end when the user's data is at fault."""

import errno
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.workflow.memory import peak_rss_bytes

FAULTS = {
    errno.ENOSPC: "no space is left on the disk; free some, and run again",
    errno.EDQUOT: "the disk quota is used up; free some space, and run again",
    errno.EROFS: "the file system is read-only; make it writable, or run in another folder",
    errno.EACCES: "not permitted; correct the permissions, and run again",
    errno.EIO: "the disk fails; copy the project elsewhere, and run again",
}
OUT_OF_MEMORY = ("not enough memory", "out of memory", "could not create a primitive")  # the last is oneDNN's


@contextmanager
def job(log: str, threads: int = 1) -> Iterator[logging.Logger]:
    """Log to the file ``log`` and to stderr; an error ends the process, a `StableQuantError` with its message alone.

    The last line says how long the work took, start-up not counted, with how many ``threads``, and the memory that the
    process took at most.
    """
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        handlers=[logging.FileHandler(path, mode="w", encoding="utf-8"), logging.StreamHandler(sys.stderr)],
        force=True,
    )
    start = time.perf_counter()
    try:
        yield logging.getLogger("stablequant")
        seconds, peak = time.perf_counter() - start, peak_rss_bytes() / 1e6
        logging.info("done in %.2f s, threads: %d, peak memory: %.0f MB", seconds, threads, peak)
    except StableQuantError as error:
        logging.error("%s", error)
        sys.exit(1)
    except Exception as error:
        fault = fault_of_the_machine(error)
        logging.error(fault) if fault else logging.exception("the job failed")
        sys.exit(1)


def fault_of_the_machine(error: Exception) -> str | None:
    """One sentence for an error that no program can help; None for any other."""
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY):
        return "out of memory; lower 'batch_mb' in the config, or run fewer jobs at once: snakemake --cores 1"
    if isinstance(error, ImportError) and error.name and error.name.partition(".")[0] != "stablequant":
        return f"{error.name}: the package cannot be loaded ({error}); install what requirements.lock lists"
    code = error.errno if isinstance(error, OSError) else None
    if code not in FAULTS:  # libraries in other languages hand on what the system said
        code = next((fault for fault in FAULTS if os.strerror(fault) in str(error)), None)
    if code in FAULTS:
        return f"{getattr(error, 'filename', None) or 'a file of this job'}: {FAULTS[code]}; what was finished is kept"
    return None
