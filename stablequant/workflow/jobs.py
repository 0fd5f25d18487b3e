"""The frame of every job of the workflow: a log, and a clear message if the user's data or the machine is at fault."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.workflow.memory import peak_rss_bytes


@contextmanager
def job(log: str, threads: int = 1) -> Iterator[logging.Logger]:
    """Write log messages to the file ``log`` and to stderr while the block runs.

    An error in the block is logged and ends the process with exit status 1. For a `StableQuantError` or a fault of the
    machine only the message is logged, for any other error also the traceback. After success the last line gives the
    seconds that the block took, the number of ``threads``, and the peak memory of the process.
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
