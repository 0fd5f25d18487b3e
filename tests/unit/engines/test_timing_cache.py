"""Builds at the same time all leave their measurements in TensorRT's timing cache.

TensorRT needs a GPU, so its cache is a set of words here. Files, lock and processes are real.
"""

import os
import subprocess
import sys

from checkout import PROJECT

from stablequant.storage.locks import locked

BUILD = """
import sys
from pathlib import Path
from stablequant.engines.tensorrt import store_timings

class Cache:
    def __init__(self, words):
        self.words = {*words.split()}
    def combine(self, other, ignore_mismatch):
        assert not ignore_mismatch
        self.words |= other.words
    def serialize(self):
        return " ".join(sorted(self.words)).encode()

class Config:
    def get_timing_cache(self):
        return Cache(sys.argv[2])
    def create_timing_cache(self, content):
        return Cache(content.decode())

print("built", flush=True)
store_timings(Path(sys.argv[1]), Config())
"""


def test_no_measurement_of_another_build_is_lost(tmp_path):
    cache = tmp_path / "results/tensorrt.timing"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with locked(cache):
        builds = [
            subprocess.Popen(
                [sys.executable, "-c", BUILD, str(cache), word], env=environment, stdout=subprocess.PIPE, text=True
            )
            for word in ("one", "two")
        ]
        for build in builds:
            assert build.stdout.readline() == "built\n"
        cache.write_text("three")  # of a third, which holds the lock
    for build in builds:
        assert build.wait(timeout=20) == 0
        build.stdout.close()
    assert cache.read_text() == "one three two"
