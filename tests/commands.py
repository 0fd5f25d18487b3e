"""The command line in a process of its own that cannot import torch or transformers, since a bundle needs neither."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checkout import PROJECT

ENVIRONMENT = os.environ | {"PYTHONPATH": str(PROJECT)}


def without_torch(*arguments: object) -> list[str]:
    """What starts ``stablequant`` with these arguments."""
    called = ["stablequant", *map(str, arguments)]
    code = "import sys; sys.modules |= dict.fromkeys(['torch', 'transformers']); sys.argv = {}; "
    return [sys.executable, "-c", code.format(called) + "from stablequant.bundle.cli import main; main()"]


def run(*arguments: object, stdin: bytes = b"", expect: int = 0) -> subprocess.CompletedProcess:
    """Run a command to its end, which must exit with the status ``expect``."""
    command = without_torch(*arguments)
    done = subprocess.run(command, input=stdin, capture_output=True, env=ENVIRONMENT, check=False)
    assert done.returncode == expect, done.stderr.decode()
    return done


@contextmanager
def service(bundle: Path, *options: str, port: int = 0) -> Iterator[tuple[subprocess.Popen, int]]:
    """The process of ``stablequant serve`` and its port, once it takes requests."""
    command = without_torch("serve", bundle, "--port", port, *options)
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        printed = ""
        while not (found := re.search(r" arithmetic at http://127\.0\.0\.1:(\d+)/v1\n", printed)):
            printed += (line := process.stderr.readline())
            assert line, printed
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()
