"""The frame of every job of the workflow: a log, and a clear message if the user's data or the machine is at fault."""

import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TextIO, cast

from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.workflow.memory import peak_rss_bytes


class _ForTerminal(logging.Formatter):
    """``warning: what is to be known``; when it was is in the log."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {super().format(record)}"


class Lines(io.TextIOBase):
    """A log that several writers share: whatever is written at once becomes one line.

    So a progress bar, which returns to the start of its line on a terminal, becomes a line each time that it is shown.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write ``text`` as a line of its own; return its length."""
        line = text.replace("\r", "").rstrip()
        if line:
            self._file.write(f"{line}\n")
            self._file.flush()
        return len(text)


@contextmanager
def job(log: str, threads: int = 1) -> Iterator[logging.Logger]:
    """Write all messages and progress to the file ``log`` while the block runs; warnings and errors to stderr too.

    Progress, and what libraries of Python write to stderr, go to ``log`` only. An error in the block is logged and ends
    the process with exit status 1. For a `StableQuantError` or a fault of the machine only the message is logged, for
    any other error also the traceback. After success the last line gives the seconds that the block took, the number of
    ``threads``, and the peak memory of the process.
    """
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(_ForTerminal())
    with path.open("w", encoding="utf-8") as file, redirect_stderr(cast(TextIO, Lines(file))):
        logging.basicConfig(
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(message)s",
            handlers=[logging.StreamHandler(sys.stderr), terminal],
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
