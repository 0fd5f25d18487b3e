"""A folder where OpenVINO keeps what it compiled, so that a large network loads faster next time.

OpenVINO (2026.4.1) finds a compiled network by its graph, its weights and the CPU, but not by the settings. What it
compiles for them differs, so each arithmetic has a folder of its own. OpenVINO also writes in place, so only one caller
compiles at a time; the others wait, and then load what it wrote.

The folder affects speed only: if it cannot be used, there is a warning, and the network is compiled without it.
"""

import logging
import os
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import openvino as ov

from stablequant.storage.locks import locked

_threads = threading.Lock()  # locks on files keep other processes out, but no threads


def compile_with_cache(
    model: ov.Model, settings: Mapping[str, object], arithmetic: str, cache: Path | None
) -> ov.CompiledModel:
    """Compile ``model`` for this CPU, or load it from the folder ``cache`` if that was done before.

    ``arithmetic`` stands for the ``settings`` that change what is compiled: for one model, it differs if they differ.
    Without the right to write into ``cache``, what is in it is still read.
    """
    if cache is None:
        return ov.compile_model(model, "CPU", dict(settings))
    folder = cache / arithmetic.replace(" ", "_")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _threads, locked(folder, logging.WARNING) if os.access(cache, os.W_OK) else nullcontext():
            return ov.compile_model(model, "CPU", {**settings, "CACHE_DIR": str(folder)})
    except (OSError, RuntimeError) as error:
        logging.warning(
            "%s: cannot be used as a cache (%s); the network is compiled without it. Give a folder of your own",
            cache,
            str(error).strip().splitlines()[-1],
        )
        return ov.compile_model(model, "CPU", dict(settings))
