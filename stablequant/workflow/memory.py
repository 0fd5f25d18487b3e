"""Peak memory of this process, for logs, benchmarks and tests. Linux only."""

import re
from pathlib import Path

KIB = 1024


def peak_rss_bytes() -> int:
    """The largest resident memory since this program was started, in bytes.

    `resource.getrusage` is not used: its `ru_maxrss` also counts the memory of the parent process at the start.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    assert peak is not None, "the kernel reports no VmHWM"
    return int(peak[1]) * KIB
