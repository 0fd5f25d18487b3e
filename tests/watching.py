"""Jobs of a running workflow as the kernel sees them: memory, and which of their threads work."""

import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
SCRIPT = re.compile(rb"\.snakemake/scripts/tmp\w+\.(\w+)\.py")
EVERY = 0.1  # seconds


def without_network() -> list[str]:
    """The words to put before a command so that it sees no network, not even loopback; none where that cannot be."""
    isolate = ["unshare", "--map-root-user", "--net"]
    possible = shutil.which("unshare") and not subprocess.run([*isolate, "true"], check=False).returncode
    return isolate if possible else []


@dataclass
class Job:
    """One job's process: its rule, the most memory it had, and processor seconds by thread."""

    rule: str
    peak_mb: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def working_threads(self, least: float) -> int:
        """Threads that worked ``least`` seconds or more."""
        return sum(seconds >= least for seconds in self.seconds.values())


@dataclass
class Watched:
    """All jobs of a process group, by process number; ``peak_mb`` is what they had together at most."""

    jobs: dict[int, Job] = field(default_factory=dict)
    peak_mb: float = 0.0


class Watcher:
    """Looks at the jobs of a process group while the block runs."""

    def __init__(self, group: int) -> None:
        self.watched = Watched()
        self._group = group
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self.watched

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            together = 0.0
            for place in Path("/proc").glob("[0-9]*"):
                try:
                    found = SCRIPT.search((place / "cmdline").read_bytes())
                    if found and os.getpgid(int(place.name)) == self._group:
                        together += self._look(place, found[1].decode())
                except (FileNotFoundError, ProcessLookupError):
                    continue
            self.watched.peak_mb = max(self.watched.peak_mb, together)

    def _look(self, place: Path, rule: str) -> float:
        job = self.watched.jobs.setdefault(int(place.name), Job(rule))
        memory = int((place / "statm").read_text().split()[1]) * PAGE_MB
        job.peak_mb = max(job.peak_mb, memory)
        for thread in (place / "task").iterdir():
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            job.seconds[thread.name] = (int(fields[11]) + int(fields[12])) / TICKS  # user and system time
        return memory
