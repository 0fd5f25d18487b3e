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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
import yaml
from project import CONFIG, PROJECT
from large_graphs import quantize, write_hubert_large
from random_large import RATE, write_random_large
from simulated import files_in

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance, table_of
from stablequant.engines import onnxruntime
from stablequant.engines.tensorrt import LIBRARIES, build_plan, gpu_capability, library, load_plan
from stablequant.errors import StableQuantError
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.ctc.decoding import INPUT, OUTPUT, SIGNATURE
from stablequant.recognisers.family import Limits, Network
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.recogniser import Recogniser
from stablequant.recognisers.registry import family_of
from stablequant.search.probe_layer import probe_layers
from stablequant.search.recognise_reference import Cache, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.split import Split, loaded, read_split
from stablequant.search.trials import Calibration
from stablequant.storage.files import read_table, write_table
from stablequant.workflow.provenance import packages

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
LENGTHS = (2, 10, 30) if GPU else (2,)  # seconds of audio
TOGETHER = (8, 10) if GPU else (2, 2)  # utterances of so many seconds at once, for the throughput
REPEATS = 20 if GPU else 3
REHEARSED = 6  # utterances of the demo in a rehearsal


def row(case: str, measure: str, value: object, unit: str | None = None, at_most: float | None = None) -> dict:
    """A row of the table; ``at_most`` is its target, which a rehearsal does not judge."""
    found = {"case": case, "measure": measure, "value": value, "unit": unit}
    if at_most is not None:
        met = "yes" if float(str(value)) <= at_most else "no"
        found |= {"target": f"<= {at_most:g}", "met": met if GPU else "rehearsed"}
    return found


def machine() -> Iterator[dict]:
    """The GPU and the versions of what runs on it."""
    if GPU:
        known = torch.cuda.get_device_properties(0)
        yield row("GPU", "name", known.name)
        yield row("GPU", "compute capability", gpu_capability())
        yield row("GPU", "memory", known.total_memory / 1e9, "GB")
        yield row("torch", "CUDA", torch.version.cuda)
    for name, version in packages().items():
        yield row(name, "version", version)
    for name in LIBRARIES:
        try:
            yield row(name, "version", library(name).__version__)
        except StableQuantError as missing:
            yield {"case": name, "error": str(missing)}


def tests() -> Iterator[dict]:
    """The tests that compare the search on a GPU with the CPU."""
    written = WORK / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={written}"]
    subprocess.run([*command, "tests/unit/search/test_gpu.py"], cwd=PROJECT, check=False)
    cases = list(ElementTree.parse(written).iter("testcase"))
    if not cases:
        raise RuntimeError("no test ran")
    for case in cases:
        faults = [(child.tag, child.get("message", "")) for child in case if child.tag in ("failure", "error")]
        skipped = case.find("skipped") is not None
        yield row(str(case.get("name")), "test", "skipped" if skipped else "failed" if faults else "passed") | (
            {"error": faults[0][1]} if faults else {}
        )


def parity() -> Iterator[dict]:
    """Logits and words of the demo's two recognisers on the GPU and on the CPU, in float32."""
    for name in ("model", "large"):
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
    """A pass with one layer quantized against one in fp32, each over all audio."""
    for name in ("demo", "hubert-large-shape") if GPU else ("demo",):
        folder = fresh(WORK / "probe" / name)
        checkpoint, utterances = folder / "checkpoint", folder / "utterances.tsv"
        if name == "demo":
            import_checkpoint(str(PROJECT / "resources/demo/model"), checkpoint)
            list_demo(checkpoint, utterances, 100 if GPU else REHEARSED)
        else:
            write_random_large(folder, 60)
        recogniser = load_recogniser(checkpoint, DEVICE, THREADS)
        split = read_split(recogniser, utterances, BATCH_MB, CONFIG["seed"])
        files = files_in(folder)
        found = recognise_reference(recogniser, split, files, Cache({}, 0))
        calibration = Calibration(split, load_reference(files.summary, files.posteriors), None, split.seed)
        ranges = {activation: full_range(histogram) for activation, histogram in found.histograms.items()}

        def recognise(recogniser: Recogniser = recogniser, split: Split = split) -> None:
            for _, context, state in loaded(recogniser, split.batches, "fp32"):
                recogniser.recognise(state, 0, context)

        probed = partial(
            probe_layers, recogniser, recogniser.modules, ranges=ranges, calibration=calibration, threshold=0
        )
        plain = median_seconds(recognise, 5)
        layers = recogniser.layers
        chosen = [layers[i] for i in np.linspace(0, len(layers) - 1, PROBED).astype(int)]
        ratios = {layer: median_seconds(partial(probed, layers=[layer]), 3) / plain for layer in chosen}
        audio_seconds = sum(u.samples for u in split.utterances) / split.sample_rate
        yield row(name, "fp32 pass", audio_seconds / plain, "s of audio per s")
        yield row(name, "probe against fp32 pass, median", float(np.median(list(ratios.values()))), "times")
        slowest = max(ratios, key=ratios.__getitem__)
        yield row(name, f"the slowest, {slowest}", ratios[slowest], "times", SLOWEST_PROBE)
        if GPU:
            yield row(name, "peak memory of the GPU", torch.cuda.max_memory_allocated() / 1e9, "GB")


def search() -> Iterator[dict]:
    """The demo through Snakemake, searched on the GPU, from the checkpoint to the words of TensorRT's engines."""
    folder = fresh(WORK / "search")
    splits = {}
    for split in ("calibration", "evaluation"):
        source = PROJECT / CONFIG["models"]["demo"][split]
        manifest = folder / f"{split}.tsv"
        lines = source.read_text().splitlines()
        root, listed = PROJECT / lines[0], lines[1:] if GPU else lines[1 : 1 + REHEARSED]
        manifest.write_text("\n".join([str(root), *listed]) + "\n")
        splits[split] = str(manifest)
    own = {"checkpoint": "resources/demo/model", **splits}
    backend = tensorrt()
    settings = {"models": {"demo": None, "demo-gpu": own}, "device": DEVICE, "evaluation_repeats": 1}
    settings |= {"methods": ["fp32", "stablequant"], "engines": [backend, "openvino"], "batch_mb": BATCH_MB}
    settings |= {"tensorrt": {"compute_capabilities": [gpu_capability() or STAND_IN]}}
    settings |= {"probe": {"layers_per_job": 100}}
    if not GPU:
        settings |= {"percentiles": [99.9], "max_reference_wer": None}
    overlay = folder / "config.yaml"
    overlay.write_text(yaml.safe_dump(settings))
    shutil.rmtree(PROJECT / "results/demo-gpu", ignore_errors=True)
    command = [sys.executable, "-m", "snakemake", "--cores", str(THREADS), "--resources", "gpu=1", "--configfile"]
    start = time.perf_counter()
    subprocess.run([*command, overlay, "--", "results/demo-gpu/comparison.tsv"], cwd=PROJECT, check=True)
    yield row("demo", "checkpoint to table", time.perf_counter() - start, "s")
    results = PROJECT / "results/demo-gpu"
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
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load(folder / "fp32.onnx"), keep_io_types=True)
    onnx.save(half, folder / "fp16.onnx")
    yield row(shape(), "making of the graphs, on the CPU", time.perf_counter() - start, "s")
    for precision in ("fp32", "fp16", "int8"):
        yield row(shape(), f"{precision} graph", (folder / f"{precision}.onnx").stat().st_size / 1e6, "MB")


def engine(precision: str) -> Iterator[dict]:
    """A plan of one of the `graphs`: building, loading, agreement, latency and throughput."""
    graph, backend = WORK / f"graphs/{precision}.onnx", tensorrt()
    if not graph.is_file():
        raise FileNotFoundError(f"{graph}: the part 'graphs' writes it")
    most, together = max(LENGTHS), TOGETHER[0]
    profile = {"batch": Limits(1, 1, together), "samples": Limits(400, TOGETHER[1] * RATE, most * RATE)}
    start = time.perf_counter()
    plan = build_plan(backend, graph, SIGNATURE, [gpu_capability() or STAND_IN], profile)
    file = graph.with_suffix(".plan")
    file.write_bytes(plan)
    case = f"{shape()}, {backend}"
    yield row(case, "build", time.perf_counter() - start, "s")
    yield row(case, "plan", len(plan) / 1e6, "MB")
    start = time.perf_counter()
    expected, _ = onnxruntime.load_network(graph, SIGNATURE, THREADS)
    if not GPU:
        case = f"{shape()}, ONNX Runtime for {backend}"
    network: Network = load_plan(backend, file, SIGNATURE) if GPU else expected
    network({INPUT: noise(1, 2)})
    yield row(case, "load, to the first result", time.perf_counter() - start, "s")
    audio = noise(1, 2)
    wanted, found = (run({INPUT: audio})[OUTPUT].astype(np.float64) for run in (expected, network))
    different = float(np.sqrt(np.square(found - wanted).mean()) / wanted.std())
    yield row(case, "difference from ONNX Runtime on the CPU, rms", different, "of the logits' spread")
    for seconds in LENGTHS:
        audio = noise(1, seconds)
        network({INPUT: audio})  # the first call of a new shape takes longer
        taken = [one_call(network, audio) for _ in range(REPEATS)]
        yield row(f"{case}, {seconds} s", "median latency", 1e3 * float(np.median(taken)), "ms")
        yield row(f"{case}, {seconds} s", "95 % latency", 1e3 * float(np.percentile(taken, 95)), "ms")
    audio = noise(*TOGETHER)
    network({INPUT: audio})
    seconds = np.median([one_call(network, audio) for _ in range(REPEATS)])
    measure = f"throughput, {together} of {TOGETHER[1]} s at once"
    yield row(case, measure, together * TOGETHER[1] / float(seconds), "s of audio per s")


def tensorrt() -> str:
    """The first backend of TensorRT's whose library is installed."""
    reasons = []
    for name in LIBRARIES:
        try:
            library(name)
        except StableQuantError as missing:
            reasons.append(str(missing))
        else:
            return name
    raise RuntimeError("; ".join(reasons))


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


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Of ``repeats`` calls after a first one."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))


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
