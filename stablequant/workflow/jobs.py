"""What every job of the workflow does around its work: a log, and a clean end when the user's data is at fault."""

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
