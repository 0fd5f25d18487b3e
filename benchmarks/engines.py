"""Size and speed of engines: ``python benchmarks/engines.py --out FILE``.

A HuBERT of large's shape (24 layers, width 1024, 315 million parameters) with random weights goes the project's way
but for the search and the rounding of weights, of which neither changes the graph: exported, calibrated, quantized with
all that the default procedure adds, built for every backend. Nothing it recognises means anything; how large and how
fast it is does. Every engine runs in a process of its own and they take turns, so that a drifting machine slows all
alike. A turn loads the engine, recognises each length once, which makes its kernels, and then ``--repeats`` times; so
one engine is in memory at a time. ``--checkpoint`` measures another recogniser.

``load_seconds`` is from opening the files to the first result, ``peak_rss_bytes`` the process's with the longest audio.
Rows with ``audio_seconds`` = ``mix`` are one pass over utterances of lengths as in LibriSpeech, one by one, most of
them new to the engine, with ``throughput`` in seconds of audio per second, the median of the turns. On a CPU whose INT8
kernels saturate (no VNNI) the project runs quantized graphs in floating point: ``arithmetic`` says so, and a row
``int8, saturating`` shows the speed of the kernels that it does not use, whose results are wrong. On one that has VNNI
and bfloat16, ``int8, bf16`` computes in the latter what stays floating. ``int8 weights`` are the weights alone, and
``int8, dynamic`` quantizes activations while it runs (easy_engines.py). ``openvino-nncf`` and ``ctranslate2`` need the
packages of envs/peers.txt (make peers); plans of TensorRT for RTX are only built.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from project import CONFIG
from easy_engines import SATURATING, Engine, Load, load_openvino_otherwise, onnxruntime_engines, weight_engines
from large_graphs import quantize, write_hubert_large
from noise import RATE, noise
from processes import start_process
from tables import command_line, write_out
from tqdm import tqdm

from stablequant.engines.backend import BACKENDS, Request, backend_named
from stablequant.engines.precision import BFLOAT16, FLOAT32, INT8
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT, OUTPUT, SIGNATURE
from stablequant.recognisers.family import Limits, Network
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.loading import load_model
from stablequant.report.show import markdown_table
from stablequant.storage.files import graph_bytes, write_json
from stablequant.workflow.memory import peak_rss_bytes
from stablequant.workflow.provenance import processor

COLUMNS = [
    *("backend", "precision", "audio_seconds", "latency_median", "latency_p95", "load_seconds", "peak_rss_bytes"),
    *("file_bytes", "onnx_bytes", "throughput", "arithmetic", "processor"),
]
MIX_SECONDS = (2.3, 3.1, 3.9, 5.2, 6.4, 8.0, 10.5, 14.1, 15.8, 22.0)  # mean 9, between test-clean's and training's
BOTH = "int8, bf16"


def load_torch(checkpoint: Path, threads: int) -> tuple[Network, str]:
    """The checkpoint itself."""
    model = load_model(checkpoint, threads=threads)

    @torch.inference_mode()
    def network(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {OUTPUT: model(torch.from_numpy(tensors[INPUT])).logits.numpy()}

    return network, FLOAT32


def load_engine(backend: str, folder: Path, precision: str, threads: int) -> tuple[Network, str]:
    """An engine as the project runs it; `BOTH` lets OpenVINO's compute in bfloat16 what stays floating."""
    description = {"floating": BFLOAT16 if precision == BOTH else FLOAT32}
    networks, arithmetic = backend_named(backend, folder).load(folder, description, {GRAPH: SIGNATURE}, threads)
    return networks[GRAPH], arithmetic


def load_ctranslate2(folder: Path, threads: int) -> tuple[Network, str]:
    """CTranslate2 on the CPU, in the type that it is asked for."""
    import ctranslate2

    engine = ctranslate2.models.Wav2Vec2(str(folder), compute_type="int8", intra_threads=threads)

    def network(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        audio = ctranslate2.StorageView.from_array(tensors[INPUT][:, None])
        return {OUTPUT: np.array(engine.encode(audio, to_cpu=True))}

    return network, INT8


def serve(pipe: Connection, load: Load) -> None:
    """In a process of its own: load, then recognise noise of as many samples as are asked for, until told nothing."""
    start = time.perf_counter()
    network, arithmetic = load()
    network({INPUT: np.zeros((1, RATE), dtype=np.float32)})
    pipe.send((time.perf_counter() - start, arithmetic))
    draw = np.random.default_rng(0)
    while samples := pipe.recv():
        audio = draw.standard_normal((1, samples)).astype(np.float32)
        start = time.perf_counter()
        network({INPUT: audio})
        pipe.send((time.perf_counter() - start, peak_rss_bytes()))


def build(checkpoint: Path, folder: Path, threads: int) -> list[Engine]:
    """Every engine that can be built here and run on a CPU."""
    quantize(checkpoint, folder)
    found = [("torch", "fp32", checkpoint, partial(load_torch, checkpoint, threads))]
    ways = {("openvino", "fp32"): ["fp32", "bf16"], ("openvino", "int8"): int8_names()}  # in which an engine can run
    for precision in ("fp32", "int8"):
        for backend in ("onnxruntime", "openvino"):
            built = build_engine(backend, precision, folder)
            names = ways.get((backend, precision), [precision])
            found += [(backend, name, built, loading(backend, built, name, threads)) for name in names]
    for engines in (ctranslate2_engines, nncf_engines, weight_engines, onnxruntime_engines):
        try:
            found += engines(checkpoint, folder, threads)
        except ImportError as missing:
            print(f"{missing.name} is not installed, so that it is left out (make peers)", file=sys.stderr)
    return found


def build_engine(backend: str, precision: str, folder: Path) -> Path:
    """The folder of one backend's engine of ``folder/{precision}.onnx``."""
    into = folder / backend / precision
    into.mkdir(parents=True)
    settings = CONFIG[BACKENDS[backend].settings] if BACKENDS[backend].settings else {}
    limits = {"samples": Limits(400, 10 * RATE, 600_000)} if BACKENDS[backend].tuned else {}
    graphs = {GRAPH: folder / f"{precision}.onnx"}
    request = Request(graphs, {GRAPH: SIGNATURE}, limits, settings, all_int8=precision == "int8")
    backend_named(backend, "this benchmark").build(request, into)
    return into


def loading(backend: str, folder: Path, precision: str, threads: int) -> Load:
    """How the engine in ``folder`` is loaded to run in ``precision``."""
    if precision in ("bf16", SATURATING):
        return partial(load_openvino_otherwise, folder, precision, threads)
    return partial(load_engine, backend, folder, precision, threads)


def ctranslate2_engines(checkpoint: Path, folder: Path, threads: int) -> list[Engine]:
    """CTranslate2's INT8 of the same weights, as a Wav2Vec2, which it takes, where it takes no HuBERT.

    Of Wav2Vec2s it takes those with layer norm and pre-norm, as the large ones are, which compute the same as HuBERT;
    of others there is none.
    """
    from ctranslate2.converters import TransformersConverter
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    model = load_model(checkpoint)
    settings = model.config.to_dict()
    if not settings["do_stable_layer_norm"]:
        print("CTranslate2 takes no recogniser with norms behind its blocks, so that it is left out", file=sys.stderr)
        return []
    named = {key: value for key, value in settings.items() if key not in ("model_type", "architectures")}
    same = Wav2Vec2ForCTC(Wav2Vec2Config(**named))
    prefix = f"{model.base_model_prefix}."
    weights = {key.replace(prefix, "wav2vec2.", 1): value for key, value in model.state_dict().items()}
    folded = "wav2vec2.encoder.pos_conv_embed.conv"  # its norm, which an import folds
    same.get_submodule(folded).weight = weights.pop(f"{folded}.weight")
    _, unexpected = same.load_state_dict(weights, strict=False)
    assert not unexpected
    source, built = folder / "ctranslate2/wav2vec2", folder / "ctranslate2/int8"
    same.save_pretrained(source)
    shutil.copyfile(checkpoint / "vocab.json", source / "vocab.json")
    special = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), "<pad>")  # it would add its own
    write_json(source / "tokenizer_config.json", {"tokenizer_class": "Wav2Vec2CTCTokenizer", **special})
    TransformersConverter(str(source)).convert(str(built), quantization="int8")
    return [("ctranslate2", "int8", built, partial(load_ctranslate2, built, threads))]


def nncf_engines(_checkpoint: Path, folder: Path, threads: int) -> list[Engine]:
    """OpenVINO's, of the graph as NNCF quantizes it."""
    import nncf
    import openvino as ov

    model = ov.Core().read_model(folder / "fp32.onnx")
    quantized = nncf.quantize(model, nncf.Dataset([noise(1, 8)]), model_type=nncf.ModelType.TRANSFORMER, subset_size=1)
    built = folder / "nncf"
    built.mkdir()
    ov.save_model(quantized, built / f"{GRAPH}.xml", compress_to_fp16=False)
    return [("openvino-nncf", name, built, loading("openvino", built, name, threads)) for name in int8_names()]


def int8_names() -> list[str]:
    """The precisions in which OpenVINO's INT8 network can run on this CPU."""
    from stablequant.engines import openvino

    if not openvino.int8_kernels_are_exact():
        return ["int8", SATURATING]
    return ["int8", BOTH] if openvino.has_bfloat16() else ["int8"]


def tensorrt_rows(folder: Path) -> list[dict]:
    """Sizes of TensorRT for RTX's plans, which are built without a GPU and not run."""
    rows = []
    for precision in ("fp32", "int8"):
        into = build_engine("tensorrt-rtx", precision, folder)
        rows.append(
            {"backend": "tensorrt-rtx", "precision": precision, **sizes("tensorrt-rtx", into, folder, precision)}
        )
    return rows


def sizes(backend: str, engine: Path, folder: Path, precision: str) -> dict:
    """Bytes of the engine and of the ONNX file that it was built from; NNCF's and CTranslate2's are built from none."""
    found = {"file_bytes": sum(file.stat().st_size for file in engine.rglob("*") if file.is_file())}
    own = engine / f"{GRAPH}.onnx"
    if own.is_file():
        found["onnx_bytes"] = graph_bytes(own)
    elif not backend.startswith(("openvino-nncf", "ctranslate2")):
        graph = "int8.onnx" if precision.startswith("int8") else "fp32.onnx"
        found["onnx_bytes"] = graph_bytes(folder / graph)
    return found


class Turn:
    """One engine's turn: what it took to load, and to recognise noise of each length."""

    def __init__(self, load: Load, lengths: Sequence[float], repeats: int) -> None:
        process, self._pipe = start_process(serve, load)
        self.load_seconds, self.arithmetic = self._pipe.recv()
        for seconds in lengths:
            self._recognise(seconds)  # makes the kernels
        self.seconds = {seconds: [self._recognise(seconds) for _ in range(repeats)] for seconds in lengths}
        self.mix_seconds = sum(map(self._recognise, MIX_SECONDS))
        self._pipe.send(0)
        process.join()

    def _recognise(self, audio_seconds: float) -> float:
        """Seconds that it takes."""
        self._pipe.send(int(audio_seconds * RATE))
        elapsed, self.peak_rss_bytes = self._pipe.recv()
        return elapsed


def measure(
    checkpoint: Path, folder: Path, lengths: list[float], turns: int, repeats: int, threads: int
) -> pd.DataFrame:
    """One row per length of audio and engine, `COLUMNS`."""
    engines = build(checkpoint, folder, threads)
    taken: list[list[Turn]] = [[] for _ in engines]
    with tqdm(total=turns * len(engines), desc="measuring", unit="turn") as done:
        for _ in range(turns):
            for own, (*_, load) in zip(taken, engines, strict=True):
                own.append(Turn(load, lengths, repeats))
                done.update()
    rows = []
    for own, (backend, precision, files, _) in zip(taken, engines, strict=True):
        row = {
            "backend": backend,
            "precision": precision,
            "load_seconds": np.median([turn.load_seconds for turn in own]),
            "peak_rss_bytes": max(turn.peak_rss_bytes for turn in own),
            "arithmetic": own[0].arithmetic,
            **sizes(backend, files, folder, precision),
        }
        for seconds in lengths:
            spent = [each for turn in own for each in turn.seconds[seconds]]
            median, late = np.median(spent), np.percentile(spent, 95)
            rows.append({**row, "audio_seconds": seconds, "latency_median": median, "latency_p95": late})
        throughput = sum(MIX_SECONDS) / np.median([turn.mix_seconds for turn in own])
        rows.append({**row, "audio_seconds": "mix", "throughput": throughput})
    rows += tensorrt_rows(folder)
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["processor"] = processor()
    return table


def markdown(table: pd.DataFrame) -> str:
    """Sizes and speeds against OpenVINO's fp32 as the README shows them; the plans were not run."""
    lengths = [seconds for seconds in table["audio_seconds"].dropna().unique() if seconds != "mix"]
    fp32 = table[(table["backend"] == "openvino") & (table["precision"] == "fp32")].set_index("audio_seconds")
    header = ["backend", "precision", "arithmetic", "size", "ONNX", "load s", "peak MB"]
    header += [f"{float(seconds):g} s" for seconds in lengths] + ["mix"]
    lines = []
    whole = {"file_bytes": fp32["file_bytes"].iloc[0], "onnx_bytes": fp32["onnx_bytes"].iloc[0]}
    for (backend, precision), rows in table.groupby(["backend", "precision"], sort=False):
        first, by_length = rows.iloc[0], rows.set_index("audio_seconds")
        cells = [backend, precision, first["arithmetic"] if pd.notna(first["arithmetic"]) else "not run"]
        cells += [f"{first[column] / n:.4f}" if pd.notna(first[column]) else "" for column, n in whole.items()]
        if pd.isna(first["load_seconds"]):
            cells += [""] * (len(header) - len(cells))
        else:
            cells += [f"{first['load_seconds']:.1f}", f"{first['peak_rss_bytes'] / 1e6:.0f}"]
            for seconds in lengths:
                taken = by_length.loc[seconds, "latency_median"]
                cells.append(f"{taken:.2f} s ({fp32.loc[seconds, 'latency_median'] / taken:.2f}x)")
            speed = by_length.loc["mix", "throughput"]
            cells.append(f"{speed:.2f} ({speed / fp32.loc['mix', 'throughput']:.2f}x)")
        lines.append(cells)
    return markdown_table(header, lines)


def summarise(table: pd.DataFrame) -> str:
    """Sizes against the same backend's fp32, and how many times as fast OpenVINO's INT8 is as every other engine."""
    ran = table.dropna(subset="load_seconds").set_index(["backend", "precision"])
    files = table.pivot_table(index="backend", columns="precision", values="file_bytes", sort=False)
    shrunk = (files["int8"] / files["fp32"]).dropna().round(3)
    shown = ["int8's files of the same backend's fp32's: " + ", ".join(f"{b} {share}" for b, share in shrunk.items())]
    for ours in [names for names in (("openvino", "int8"), ("openvino", BOTH)) if names in ran.index]:
        factors = {}
        for length, rows in ran.groupby("audio_seconds", sort=False):
            speed = rows["throughput"] if length == "mix" else 1 / rows["latency_median"]
            factors[length] = speed[ours] / speed.drop(ours)
        shown += [f"{' '.join(ours)} is so many times as fast as", pd.DataFrame(factors).round(2).to_string(), ""]
    return "\n".join(shown)


def main() -> None:
    parser = command_line(__doc__, markdown, summarise, threads=True)
    parser.add_argument("--checkpoint", type=Path, help="a Hugging Face folder or fairseq file to measure instead")
    parser.add_argument("--lengths", nargs="+", type=float, default=[2.0, 10.0, 30.0], help="of audio, in seconds")
    parser.add_argument("--turns", type=int, default=3, help="of each engine (3)")
    parser.add_argument("--repeats", type=int, default=3, help="of each length in a turn (3)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = arguments.checkpoint
        if source is None:
            source = folder / "source"
            write_hubert_large(source)
        import_checkpoint(str(source), folder / "checkpoint")
        table = measure(
            folder / "checkpoint",
            folder,
            arguments.lengths,
            arguments.turns,
            arguments.repeats,
            arguments.threads,
        )
    print(table.drop(columns="processor").round(3).to_string(index=False))
    write_out(arguments.out, table)


if __name__ == "__main__":
    main()
