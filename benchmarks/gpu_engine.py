"""The parts `engine-...` of `gpu.py`: TensorRT's engines of the part `graphs`; ONNX Runtime's without a GPU."""

import time
from collections.abc import Iterator

import numpy as np
from gpu import FOLDER
from gpu_graphs import SHAPE, made
from gpu_setting import GPU, THREADS, row
from gpu_tensorrt import backends, capability
from noise import RATE, noise

from stablequant.engines import onnxruntime
from stablequant.engines.tensorrt import build_plan, library, load_plan
from stablequant.recognisers.ctc.decoding import INPUT, OUTPUT, SIGNATURE
from stablequant.recognisers.family import Limits, Network

LENGTHS = (2, 10, 30) if GPU else (2,)  # seconds of audio
TOGETHER = (8, 10) if GPU else (2, 2)  # utterances of so many seconds at once, for the throughput
REPEATS = 20 if GPU else 3
WARM_UP = 2 if GPU else 0  # seconds of calls before those that are timed: TensorRT for RTX compiles while it runs


def engine(precision: str) -> Iterator[dict]:
    """A plan of one of the `graphs`: building, loading, latency, throughput, and agreement with ONNX Runtime."""
    graph, backend = made(FOLDER / f"graphs/{precision}.onnx"), next(backends())
    most, together = max(LENGTHS), TOGETHER[0]
    profile = {"batch": Limits(1, 1, together), "samples": Limits(400, TOGETHER[1] * RATE, most * RATE)}
    case = f"{SHAPE}, {backend}"
    yield row(case, "version", library(backend).__version__)
    start = time.perf_counter()
    plan = build_plan(backend, graph, SIGNATURE, [capability()], profile)
    file = graph.with_suffix(".plan")
    file.write_bytes(plan)
    yield row(case, "build", time.perf_counter() - start, "s")
    yield row(case, "plan", len(plan) / 1e6, "MB")
    start = time.perf_counter()
    if GPU:
        network: Network = load_plan(backend, file, SIGNATURE)
    else:
        case = f"{SHAPE}, ONNX Runtime for {backend}"
        network, _ = onnxruntime.load_network(graph, SIGNATURE, THREADS)
    file.unlink()
    found = network({INPUT: noise(1, 2)})[OUTPUT]
    yield row(case, "load, to the first result", time.perf_counter() - start, "s")
    for seconds in LENGTHS:
        audio = noise(1, seconds)
        yield row(f"{case}, {seconds} s", "first call of this length", 1e3 * one_call(network, audio), "ms")
        taken = calls(network, audio)
        yield row(f"{case}, {seconds} s", "median latency", 1e3 * float(np.median(taken)), "ms")
        yield row(f"{case}, {seconds} s", "95 % latency", 1e3 * float(np.percentile(taken, 95)), "ms")
    seconds = float(np.median(calls(network, noise(*TOGETHER))))
    measure = f"throughput, {together} of {TOGETHER[1]} s at once"
    yield row(case, measure, together * TOGETHER[1] / seconds, "s of audio per s")
    expected, _ = onnxruntime.load_network(graph, SIGNATURE, THREADS)
    wanted = expected({INPUT: noise(1, 2)})[OUTPUT].astype(np.float64)
    different = float(np.sqrt(np.square(found - wanted).mean()) / wanted.std())
    yield row(case, "difference from ONNX Runtime on the CPU, rms", different, "of the logits' spread")


def one_call(network: Network, audio: np.ndarray) -> float:
    """Seconds of one call, the copies to and from the GPU included."""
    start = time.perf_counter()
    network({INPUT: audio})
    return time.perf_counter() - start


def calls(network: Network, audio: np.ndarray) -> list[float]:
    """Seconds of each of `REPEATS` calls, after others for `WARM_UP` seconds."""
    end = time.perf_counter() + WARM_UP
    one_call(network, audio)
    while time.perf_counter() < end:
        one_call(network, audio)
    return [one_call(network, audio) for _ in range(REPEATS)]
