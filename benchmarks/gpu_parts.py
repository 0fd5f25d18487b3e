"""What `gpu.py` runs, a part to a process: ``python benchmarks/gpu_parts.py PART FILE`` adds its rows to ``FILE``.

Where torch finds no GPU, the parts are rehearsed on the CPU, see `gpu.py`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from project import CONFIG, PROJECT
from large_graphs import quantize, write_hubert_large
from onnx import TensorProto, numpy_helper
from random_large import RATE
from simulated import files_in

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance, table_of
from stablequant.engines import onnxruntime
from stablequant.engines.tensorrt import (
    LIBRARIES,
    build_plan,
    compute_capability,
    gpu_capability,
    library,
    load_plan,
)
from stablequant.errors import StableQuantError
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.ctc.decoding import INPUT, OUTPUT, SIGNATURE
from stablequant.recognisers.family import Limits, Network
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.registry import family_of
from stablequant.search.probe_layer import probe_layers
from stablequant.search.recognise_reference import Cache, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.split import loaded, read_split
from stablequant.search.trials import Calibration
from stablequant.storage.files import read_table, write_table
from stablequant.workflow.provenance import packages, processor

WORK = PROJECT / "results/gpu"
GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
BATCH_MB = 2000 if GPU else CONFIG["batch_mb"]
THREADS = torch.get_num_threads()
STAND_IN = "8.6"  # compute capability that plans are built for without a GPU
MOST_DIFFERENT = 1e-3  # of the logits' spread, between GPU and CPU in float32
SLOWEST_PROBE = 1.15  # times an fp32 pass
MOST_LOST = 0.25  # points of WER that StableQuant may lose on the demo
PROBED = 5  # layers, evenly spread
TURNS = 3  # passes of each kind
PROBED_AUDIO = {"demo": 100, "large": 32} if GPU else {"demo": 6, "large": 6}  # utterances of the demo
LENGTHS = (2, 10, 30) if GPU else (2,)  # seconds of audio
TOGETHER = (8, 10) if GPU else (2, 2)  # utterances of so many seconds at once, for the throughput
REPEATS = 20 if GPU else 3
WARM_UP = 2 if GPU else 0  # seconds of calls before those that are timed: TensorRT for RTX compiles while it runs
LARGE = 100_000  # numbers in a weight, above which it is converted to fp16 as it is
REHEARSED = 6  # utterances of the demo in a rehearsal


def row(case: str, measure: str, value: object, unit: str | None = None, at_most: float | None = None) -> dict:
    """A row of the table; ``at_most`` is its target, which a rehearsal does not judge."""
    found = {"case": case, "measure": measure, "value": value, "unit": unit}
    if at_most is not None:
        met = "yes" if float(str(value)) <= at_most else "no"
        found |= {"target": f"<= {at_most:g}", "met": met if GPU else "rehearsed"}
    return found


def machine() -> Iterator[dict]:
    """The machine, its GPU and driver, the versions of what runs on it, and which of TensorRT's backends can."""
    yield row("CPU", "name", processor())
    if GPU:
        known = torch.cuda.get_device_properties(0)
        yield row("GPU", "name", known.name)
        yield row("GPU", "compute capability", gpu_capability())
        yield row("GPU", "memory", known.total_memory / 1e9, "GB")
        yield row("GPU", "driver", driver())
        yield row("torch", "CUDA", torch.version.cuda)
    for name, version in packages().items():
        yield row(name, "version", version)
    for name in LIBRARIES:
        yield row(name, "can build for this GPU", reason_not_built(name) or "yes")


def driver() -> str:
    """Version of NVIDIA's driver."""
    question = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(question, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as fault:
        return f"unknown ({fault})"


def tests() -> Iterator[dict]:
    """The tests that compare the search on a GPU with the CPU."""
    written = WORK / "tests.xml"
    written.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={written}"]
    subprocess.run([*command, "tests/unit/search/test_gpu.py"], cwd=PROJECT, check=False)
    cases = list(ElementTree.parse(written).iter("testcase"))
    if not cases:
        raise RuntimeError("no test ran")
    for case in cases:
        faults = [child.get("message", "") for child in case if child.tag in ("failure", "error")]
        if faults:
            yield {"case": case.get("name"), "error": " ".join(faults[0].split())}
        else:
            yield row(str(case.get("name")), "test", "passed" if case.find("skipped") is None else "skipped")


def parity() -> Iterator[dict]:
    """Logits and words of the demo's two recognisers on the GPU and on the CPU, in float32."""
    for name in ("model", "large"):  # the demo's
        folder = fresh(WORK / "parity" / name)
        checkpoint, utterances = folder / "checkpoint", folder / "utterances.tsv"
        import_checkpoint(str(PROJECT / "resources/demo" / name), checkpoint)
        list_demo(checkpoint, utterances, 32)
        found, words = [], []
        for device in ("cpu", DEVICE):
            recogniser = load_recogniser(checkpoint, device, THREADS)
            split = read_split(recogniser, utterances, BATCH_MB, CONFIG["seed"])
            logits, texts = [], []
            for _, context, state in loaded(recogniser, split.batches, device):
                logits.append(recogniser.logits(state, 0, context).cpu().numpy().ravel())
                texts += [recognised.text for recognised in recogniser.recognise(state, 0, context)]
            found.append(np.concatenate(logits))
            words.append(texts)
        different = float(np.abs(found[0] - found[1]).max() / found[0].std())
        yield row(name, "largest difference of logits", different, "of their spread", MOST_DIFFERENT)
        changed = sum(a != b for a, b in zip(*words, strict=True))
        yield row(name, f"changed hypotheses of {len(words[0])}", changed, None, 0)


def probe() -> Iterator[dict]:
    """A pass with one layer quantized against one in fp32, each over all audio: of the demo, and of the `graphs`."""
    folder = fresh(WORK / "probe")
    import_checkpoint(str(PROJECT / "resources/demo/model"), folder / "checkpoint")
    yield from probes_of("demo", folder / "checkpoint", PROBED_AUDIO["demo"])
    large = made(WORK / "graphs/checkpoint")
    yield from probes_of(shape(), large, PROBED_AUDIO["large"])


def probes_of(case: str, checkpoint: Path, utterances: int) -> Iterator[dict]:
    """The same of one checkpoint, with so many ``utterances`` of the demo."""
    folder = fresh(WORK / "probe/files")
    list_demo(checkpoint, folder / "utterances.tsv", utterances)
    recogniser = load_recogniser(checkpoint, DEVICE, THREADS)
    split = read_split(recogniser, folder / "utterances.tsv", BATCH_MB, CONFIG["seed"])
    files = files_in(folder)
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    found = recognise_reference(recogniser, split, files, Cache({}, 0))
    calibration = Calibration(split, load_reference(files.summary, files.posteriors), None, split.seed)
    ranges = {activation: full_range(histogram) for activation, histogram in found.histograms.items()}

    def recognise() -> None:
        for _, context, state in loaded(recogniser, split.batches, "fp32"):
            recogniser.recognise(state, 0, context)

    audio_seconds = sum(u.samples for u in split.utterances) / split.sample_rate
    yield row(case, "fp32 pass", audio_seconds / median_seconds(TURNS, recognise)[0], "s of audio per s")
    probed = partial(probe_layers, recogniser, recogniser.modules, ranges=ranges, calibration=calibration, threshold=0)
    for place in np.linspace(0, len(recogniser.layers) - 1, PROBED).astype(int):
        layer = recogniser.layers[place]
        plain, quantized = median_seconds(TURNS, recognise, partial(probed, layers=[layer]))
        yield row(case, f"probe of {layer} against the fp32 pass", quantized / plain, "times", SLOWEST_PROBE)
    if GPU:
        yield row(case, "peak memory of the GPU", torch.cuda.max_memory_allocated() / 1e9, "GB")


def search() -> Iterator[dict]:
    """The demo through Snakemake, searched on the GPU, from the checkpoint to the words of TensorRT's engines."""
    folder = fresh(WORK / "search")
    splits = {}
    for split in ("calibration", "evaluation"):
        manifest = folder / f"{split}.tsv"
        lines = (PROJECT / CONFIG["models"]["demo"][split]).read_text().splitlines()
        listed = lines[1:] if GPU else lines[1 : 1 + REHEARSED]
        manifest.write_text("\n".join([str(PROJECT / lines[0]), *listed]) + "\n")
        splits[split] = str(manifest)
    overlay = folder / "config.yaml"
    overlay.write_text(yaml.safe_dump(search_settings(splits, list(backends()))))
    results = PROJECT / "results/demo-gpu"
    shutil.rmtree(results, ignore_errors=True)
    # Whoever ends this part at its limit leaves a lock; nothing else writes these results.
    command = [sys.executable, "-m", "snakemake", "--nolock", "--cores", str(THREADS), "--resources", "gpu=1"]
    start = time.perf_counter()
    status = subprocess.call([*command, "--configfile", overlay, "--", "results/demo-gpu/comparison.tsv"], cwd=PROJECT)
    if status:
        sys.exit(status)  # what Snakemake said last is the reason
    yield row("demo", "checkpoint to table", time.perf_counter() - start, "s")
    yield from found_in(results)


def found_in(results: Path) -> Iterator[dict]:
    """The selected layers of a model, and what each of its engines recognised, from its folder of results."""
    found = read_table(results / "sensitivity.tsv")
    chosen = found.loc[found["selected"].astype(bool), "layer"]
    yield row("demo", "searched layers", " ".join(chosen) or "none")
    for engine in read_table(results / "comparison.tsv").itertuples():
        case = f"demo, {engine.backend} {engine.method}"
        if np.isnan(engine.wer):
            yield {"case": case, "error": engine.status}
            continue
        yield row(case, "WER", engine.wer, "%")
        yield row(case, "speed", engine.rtfx, "s of audio per s")
        if engine.method != "fp32":
            yield row(case, "lost against fp32", engine.degradation, "points", MOST_LOST)


def search_settings(splits: Mapping[str, str], backends: Sequence[str]) -> dict[str, Any]:
    """The config of the `search`, beside the defaults; ``splits`` are the manifests by their names in it."""
    settings: dict[str, Any] = {
        "models": {"demo": None, "demo-gpu": {"checkpoint": "resources/demo/model", **splits}},
        "methods": ["fp32", "stablequant"],
        "engines": [*backends, "openvino"],
        "tensorrt": {"compute_capabilities": [gpu_capability() or STAND_IN]},
        "device": DEVICE,
        "batch_mb": BATCH_MB,
        "probe": {"layers_per_job": 100},
    }
    if not GPU:
        settings |= {"percentiles": [99.9], "max_reference_wer": None}
    return settings


def graphs() -> Iterator[dict]:
    """HuBERT large's shape in fp32, fp16 and INT8, as ONNX graphs."""
    folder = fresh(WORK / "graphs")
    source = PROJECT / "resources/demo/large"
    if GPU:
        source = folder / "source"
        write_hubert_large(source)
    start = time.perf_counter()
    import_checkpoint(str(source), folder / "checkpoint")
    quantize(folder / "checkpoint", folder)
    write_fp16(folder / "fp32.onnx", folder / "fp16.onnx")
    yield row(shape(), "making of the graphs, on the CPU", time.perf_counter() - start, "s")
    for precision in ("fp32", "fp16", "int8"):
        yield row(shape(), f"{precision} graph", (folder / f"{precision}.onnx").stat().st_size / 1e6, "MB")


def write_fp16(source: Path, destination: Path) -> None:
    """The graph ``source`` in fp16, its inputs and outputs still float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE:
            # The library would search each for numbers that fp16 cannot hold, which takes half a minute in all.
            values = torch.tensor(numpy_helper.to_array(tensor)).half().numpy()
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    # TensorRT has all of the graph's operations in fp16, so that none is left out and no shapes need be inferred.
    half = OnnxModel(convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True, op_block_list=[]))
    half.topological_sort()
    onnx.save(half.model, destination)


def engine(precision: str) -> Iterator[dict]:
    """A plan of one of the `graphs`: building, loading, latency, throughput, and agreement with ONNX Runtime."""
    graph, backend = made(WORK / f"graphs/{precision}.onnx"), next(backends())
    most, together = max(LENGTHS), TOGETHER[0]
    profile = {"batch": Limits(1, 1, together), "samples": Limits(400, TOGETHER[1] * RATE, most * RATE)}
    case = f"{shape()}, {backend}"
    yield row(case, "version", library(backend).__version__)
    start = time.perf_counter()
    plan = build_plan(backend, graph, SIGNATURE, [gpu_capability() or STAND_IN], profile)
    file = graph.with_suffix(".plan")
    file.write_bytes(plan)
    yield row(case, "build", time.perf_counter() - start, "s")
    yield row(case, "plan", len(plan) / 1e6, "MB")
    start = time.perf_counter()
    if GPU:
        network: Network = load_plan(backend, file, SIGNATURE)
    else:
        case = f"{shape()}, ONNX Runtime for {backend}"
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


def made(path: Path) -> Path:
    """``path``, which the part `graphs` writes; raise FileNotFoundError if it did not."""
    if not path.exists():
        raise FileNotFoundError(f"{path.relative_to(PROJECT)}: the part 'graphs' did not write it")
    return path


def backends() -> Iterator[str]:
    """The backends of TensorRT that can build for this GPU, the first of which the engines use."""
    reasons = {}
    for name in LIBRARIES:
        reasons[name] = reason_not_built(name)
        if reasons[name] is None:
            yield name
    if None not in reasons.values():
        raise RuntimeError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))


def reason_not_built(backend: str) -> str | None:
    """Why a backend of TensorRT cannot build for this GPU; None if it can.

    TensorRT itself is not loaded, since both libraries in one process may not get on with each other.
    """
    if backend == "tensorrt":
        found = GPU and find_spec("tensorrt") is not None
        return None if found else f"needs a GPU, and: {LIBRARIES[backend][1]}"
    try:
        compute_capability(library(backend), gpu_capability() or STAND_IN)
    except StableQuantError as fault:
        return str(fault)
    return None


def shape() -> str:
    """What the graphs are of."""
    return "HuBERT large's shape" if GPU else "the demo's second recogniser"


def noise(utterances: int, seconds: float) -> np.ndarray:
    """Audio ``(utterances, samples)``, the same each time."""
    return np.random.default_rng(0).standard_normal((utterances, int(seconds * RATE))).astype(np.float32)


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


def median_seconds(turns: int, *ways: Callable[[], object]) -> list[float]:
    """Of each of ``ways``, which take turns, after a first turn that does not count."""
    taken = np.zeros((turns + 1, len(ways)))
    for turn in taken:
        for number, way in enumerate(ways):
            start = time.perf_counter()
            way()
            turn[number] = time.perf_counter() - start
    return np.median(taken[1:], axis=0).tolist()


def list_demo(checkpoint: Path, table: Path, most: int) -> None:
    """Write the first utterances of the demo's calibration split, at most ``most``, as a table."""
    writing = family_of(checkpoint).writing(checkpoint)
    listed, _ = list_utterances(read_manifest(PROJECT / CONFIG["models"]["demo"]["calibration"]), writing)
    write_table(table, table_of(listed[:most], Utterance))


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


PARTS: dict[str, Callable[[], Iterator[dict]]] = {
    **{part.__name__: part for part in (machine, tests, parity, graphs)},
    **{f"engine-{precision}": partial(engine, precision) for precision in ("fp32", "fp16", "int8")},
    **{part.__name__: part for part in (probe, search)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("file", type=Path, help="for the rows, a line of JSON each")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    for found in PARTS[arguments.part]():
        with arguments.file.open("a") as file:  # at once: a later fault leaves what was measured before it
            file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
