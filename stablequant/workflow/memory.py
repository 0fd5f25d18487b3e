"""Memory that this process has used, for benchmarks and tests. Linux only."""

import re
from pathlib import Path

KIB = 1024


def peak_rss_bytes() -> int:
    """The most memory resident at once since the process's program was started.

    Not `resource.getrusage`, whose `ru_maxrss` counts what the parent held when it started this process.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    assert peak is not None, "the kernel reports no VmHWM"
    return int(peak[1]) * KIB
