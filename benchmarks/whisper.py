"""Whisper in static INT8, and the engines that one might take instead: ``make whisper``, or by hand

    .venv-whisper/bin/python benchmarks/whisper.py --checkpoint DIR --calibration DIR --evaluation DIR \\
        --out benchmarks/whisper.tsv

``--checkpoint`` is a Hugging Face folder, ``--calibration`` and ``--evaluation`` are folders laid out as LibriSpeech.
All engines recognise the same recordings one by one on this CPU, greedily, in English, without timestamps, and take
turns, recording by recording, each in a process of its own. It needs the packages of envs/whisper.txt beside the
project's own; run it in the project's folder.

``wer`` is in percent, after Whisper's normaliser. ``degradation`` are the points of WER lost against the same engine
in floating point (ours, for whisper.cpp), with a 95 % interval by speaker. ``kl`` is the divergence from our fp32 along
its own tokens, in nats per token, for engines that give logits. ``rtfx`` are seconds of audio per second, from samples
to text. ``encoder_seconds`` are the median per window of 30 s, ``decoder_seconds_per_token`` the mean. ``size_bytes``
are those of the networks. ``float_layers`` counts layers with a product that does not read INT8 activations and
weights. ``seconds`` and ``passes`` are those of quantizing, as benchmarks/own_cost.py and peers.py count them.

What was made and recognised is kept in results/whisper-benchmark, so that an interrupted run goes on where it stopped.
An engine that fails is a row with an ``error``, and is tried anew by the next run.
"""

import argparse
import hashlib
import json
import logging
import shutil
import subprocess
import time
from dataclasses import replace
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from project import CONFIG, PROJECT
from failures import in_one_line
from float_layers import floating
from librispeech import listed, part_of
from own_cost import own_cost
from processes import start_process
from tables import command_line, write_out
from whisper_engines import KINDS, Graphs, Heard, load_own
from whisper_networks import Subject, written

from stablequant.corpora.utterance import score
from stablequant.recognisers.layer_table import read_modules
from stablequant.recognisers.registry import family_of
from stablequant.report.captions import with_interval
from stablequant.report.show import markdown_table
from stablequant.scoring.divergence import divergence, most_likely, summarised
from stablequant.scoring.intervals import degradation_interval
from stablequant.scoring.word_errors import degradation
from stablequant.storage.files import checksum, read_json, write_json

COLUMNS = [
    *("engine", "method", "wer", "degradation", "ci_low", "ci_high", "kl", "size_bytes", "rtfx", "encoder_seconds"),
    *("decoder_seconds_per_token", "float_layers", "seconds", "passes", "error"),
]
KEPT = PROJECT / "results/whisper-benchmark"
CLASSES = 256  # of a token's posteriors that are kept, the likeliest of fp32
CODE = [f"benchmarks/{name}.py" for name in ("whisper_engines", "whisper_making", "whisper_networks", "by_onnxruntime")]
NETWORKS = (".xml", ".bin", ".onnx", ".data")
WAIT = 900  # s for an engine to load


def prepare(arguments: argparse.Namespace) -> Subject:
    """Run the workflow as far as its engines and its bundle, unless that was done, and read what the peers need."""
    name = arguments.checkpoint.resolve().name + "-benchmark"
    name += f"-{arguments.utterances}" if arguments.utterances else ""
    work = KEPT / name
    work.mkdir(parents=True, exist_ok=True)
    splits = {
        split: part_of(getattr(arguments, split), work / "speech" / split, arguments.utterances)
        for split in ("calibration", "evaluation")
    }
    if arguments.results is None:
        arguments.results = run_workflow(arguments, name, work / "config.yaml", splits)
    results = arguments.results.resolve()
    front_end = family_of(results / "checkpoint").front_end(results / "checkpoint")
    calibration, evaluation = (listed(splits[split], front_end, work / f"{split}.tsv") for split in splits)
    return Subject(arguments.checkpoint.resolve(), results, calibration, evaluation, arguments.threads)


def run_workflow(arguments: argparse.Namespace, name: str, overlay: Path, splits: dict[str, Path]) -> Path:
    """Run the workflow for a model ``name``; return the folder of its results. ``overlay`` gets the settings."""
    own = {"checkpoint": str(arguments.checkpoint.resolve()), **{split: str(root) for split, root in splits.items()}}
    settings: dict = {"models": {"demo": None, name: own}, "methods": ["fp32", "max", "stablequant"]}
    settings |= {"engines": ["openvino"], "batch_mb": 1000}
    if arguments.config:
        settings |= yaml.safe_load(arguments.config.read_text())
    overlay.write_text(yaml.safe_dump(settings))
    wanted = [f"results/{name}/engines/openvino/{method}" for method in settings["methods"]]
    command = [PROJECT / ".venv/bin/python", "-m", "snakemake", "--cores", arguments.threads, "--rerun-incomplete"]
    command += ["--configfile", overlay, "--", *wanted, f"results/{name}/bundle"]
    subprocess.run(list(map(str, command)), cwd=PROJECT, check=True)
    return PROJECT / "results" / name


def made_of(subject: Subject, engine: str, method: str) -> str:
    """Digest of what an engine is made of: checkpoint, audio, this code, the peers' versions; ours: its files."""
    parts = [checksum(subject.source / "model.safetensors")] if (subject.source / "model.safetensors").exists() else []
    parts += [u.sha256 for u in (*subject.calibration, *subject.evaluation)]
    parts += [checksum(PROJECT / file) for file in ("envs/whisper.txt", *CODE)]
    own = subject.results / "engines/openvino" / method
    if KINDS[engine, method].make is None:
        parts += [checksum(file) for file in sorted(own.rglob("*")) if file.is_file()]
    elif (engine, method) == ("openvino-genai", "stablequant"):
        parts += [checksum(file) for file in sorted((subject.results / "bundle").rglob("*.bin"))]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def make(subject: Subject, engine: str, method: str) -> dict:
    """Make an engine, unless that was done; return its row so far: ``seconds`` and ``passes``, or its ``error``."""
    row = {"engine": engine, "method": method}
    kind = KINDS[engine, method]
    try:
        import_module(kind.package)
        if kind.make is None:
            return row | (own_cost(subject.results, subject.threads) if method == "stablequant" else {})
        folder = engine_of(subject, engine, method)
        taken = folder / "taken.json"
        if not taken.is_file():
            print(f"making {engine} {method}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if engine not in ("openvino-genai", "faster-whisper"):
                folder.mkdir()
            start = time.perf_counter()
            passes = kind.make(subject, folder)
            write_json(taken, {"seconds": time.perf_counter() - start, "passes": passes})
        return row | read_json(taken)
    except Exception as error:  # a peer that fails is a result
        return row | {"error": logged(engine, method, error)}


def engine_of(subject: Subject, engine: str, method: str) -> Path:
    """The folder of an engine: the workflow's own, or the one that a peer's is written to."""
    if KINDS[engine, method].make is None:
        return subject.results / "engines/openvino" / method
    return KEPT / subject.results.name / f"engines/{engine}/{method}-{made_of(subject, engine, method)}"


def logged(engine: str, method: str, error: BaseException) -> str:
    """An error as a row holds it; the log has it whole."""
    logging.error("%s %s", engine, method, exc_info=error)
    return in_one_line(error)[:300]


def references(subject: Subject) -> dict[str, Path]:
    """What fp32 writes in each recording of the evaluation, and its likeliest posteriors, in files by key."""
    folder = KEPT / subject.results.name / f"reference-{made_of(subject, 'openvino', 'fp32')}"
    folder.mkdir(parents=True, exist_ok=True)
    files = {u.key: folder / f"{number}.npz" for number, u in enumerate(subject.evaluation)}
    missing = [u for u in subject.evaluation if not files[u.key].is_file()]
    if missing:
        engine = load_own(subject, engine_of(subject, "openvino", "fp32"), subject.threads)
        assert isinstance(engine, Graphs)
        for utterance in missing:
            samples = subject.audio(utterance)
            tokens = written(subject, engine._decoder, engine.encoded(samples))
            posteriors = log_posteriors(engine.logits(samples, tokens))
            classes = most_likely(posteriors, CLASSES)
            making = files[utterance.key].with_suffix(".part.npz")
            np.savez(making, tokens=tokens, classes=classes, posteriors=summarised(posteriors, classes))
            making.rename(files[utterance.key])
    return files


def log_posteriors(logits: np.ndarray) -> np.ndarray:
    """Log softmax of ``logits`` ``(tokens, classes)``, float32."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))).astype(np.float32)


def serve(pipe: Connection, subject: Subject, engine: str, method: str, folder: Path) -> None:
    """In a process of its own: load an engine, then recognise what is asked for, until nothing is."""
    try:
        loaded = KINDS[engine, method].load(subject, folder, subject.threads)
        loaded.recognise(np.zeros(subject.front_end.sample_rate, dtype=np.float32))  # makes it ready
        pipe.send(None)
        while asked := pipe.recv():
            utterance, reference = asked
            samples = subject.audio(utterance)
            heard = loaded.recognise(samples)
            with np.load(reference) as kept:
                tokens = kept["tokens"].tolist()
                logits = loaded.logits(samples, tokens)
                nats = np.nan
                if logits is not None:
                    found = summarised(log_posteriors(logits), kept["classes"])
                    nats = divergence(kept["posteriors"], found)
            pipe.send([*heard, nats, len(tokens)])
    except Exception as error:
        pipe.send(logged(engine, method, error))


class Running:
    """An engine in its process, and what it recognised, kept line by line in a file."""

    def __init__(self, subject: Subject, row: dict) -> None:
        self.row, self._subject = row, subject
        engine, method = row["engine"], row["method"]
        self._file = KEPT / subject.results.name / f"heard/{engine}-{method}-{made_of(subject, engine, method)}.jsonl"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        lines = self._file.read_text().splitlines() if self._file.is_file() else []
        self.heard = dict(map(json.loads, (line for line in lines if line.endswith("]"))))
        self.error: str | None = row.get("error")
        if self.error or len(self.heard) == len(subject.evaluation):
            return
        alone = replace(subject)  # without its cache
        self._process, self._pipe = start_process(serve, alone, engine, method, engine_of(subject, engine, method))
        self._receive()

    def recognise(self, utterance, reference: Path) -> None:
        """Recognise one recording, unless that was done or the engine failed."""
        if self.error or utterance.key in self.heard:
            return
        self._pipe.send((utterance, reference))
        found = self._receive()
        if not self.error:
            self.heard[utterance.key] = found
            with self._file.open("a") as file:
                file.write(json.dumps([utterance.key, found]) + "\n")

    def _receive(self) -> object:
        try:
            found = self._pipe.recv() if self._pipe.poll(WAIT) else f"TimeoutError: no answer for {WAIT} s"
        except EOFError:
            self._process.join()
            found = f"the process ended with status {self._process.exitcode}"
        if isinstance(found, str):
            self.error = found
        return found

    def finish(self) -> None:
        """End its process."""
        if hasattr(self, "_process") and self._process.is_alive():
            self._process.terminate()
            self._process.join()


def table_of(subject: Subject, engines: list[Running]) -> pd.DataFrame:
    """One row per engine."""
    done = {(e.row["engine"], e.row["method"]): e for e in engines if not e.error}
    texts = {name: {key: values[0] for key, values in engine.heard.items()} for name, engine in done.items()}
    scored = {name: score(subject.evaluation, found) for name, found in texts.items()}
    audio = sum(u.samples for u in subject.evaluation) / subject.front_end.sample_rate
    rows = []
    for engine in engines:
        row = dict(engine.row) | ({"error": engine.error} if engine.error else {})
        name = row["engine"], row["method"]
        if name in scored:
            values = np.array([[*map(float, numbers)] for _, *numbers in engine.heard.values()])
            heard, nats, positions = values[:, :-2], values[:, -2].sum(), values[:, -1].sum()
            seconds, encoder, decoder, tokens = (heard[:, i] for i in range(len(Heard._fields) - 1))
            row |= {"wer": scored[name].wer, "kl": nats / positions, "rtfx": audio / seconds.sum()}
            row |= {"encoder_seconds": np.median(encoder), "decoder_seconds_per_token": decoder.sum() / tokens.sum()}
            row |= {
                "size_bytes": size_of(engine_of(subject, *name), name[0]),
                "float_layers": floating_layers(subject, *name),
            }
            base = KINDS[name].base
            if base in scored:
                row["degradation"] = degradation(scored[name], scored[base])
                row["ci_low"], row["ci_high"] = degradation_interval(scored[name], scored[base], CONFIG["seed"])
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def size_of(folder: Path, engine: str) -> int:
    """Bytes of the networks in ``folder``. Tokenizers, which all need, are left out."""
    files = [file for file in folder.glob("*") if file.suffix in NETWORKS and "tokenizer" not in file.name]
    if engine == "openvino-genai":  # a bundle has other files, too
        files = [file for file in files if file.name.startswith("openvino_")]
    return sum(file.stat().st_size for file in files)


def floating_layers(subject: Subject, engine: str, method: str) -> float:
    """Layers with a product that is not INT8 with INT8 activations; NaN where the files do not tell."""
    folder, modules = engine_of(subject, engine, method), read_modules(subject.results / "layers.tsv")
    if engine in ("openvino", "onnxruntime"):
        files = [file for file in folder.glob("*") if file.suffix in (".xml", ".onnx")]
        found = set().union(*(floating(file, modules) for file in files))
        return len(
            found | ({"head"} if (engine, method) == ("openvino", "fp32") else set())
        )  # it has another name there
    if engine == "openvino-genai" and method != "stablequant":
        return len({module.layer for module in modules})
    return np.nan


def markdown(table: pd.DataFrame) -> str:
    """The table as documents show it. Sizes are shares of fp32's, seconds of the encoder are per window of 30 s."""
    fp32 = table[(table["engine"] == "openvino") & (table["method"] == "fp32")].iloc[0]
    rows = []
    for row in table.to_dict("records"):
        if isinstance(row["error"], str):
            rows.append([row["engine"], row["method"], row["error"], *[""] * 7])
            continue
        lost = "0" if KINDS[row["engine"], row["method"]].base == (row["engine"], row["method"]) else with_interval(row)
        numbers = [row["size_bytes"] / fp32["size_bytes"], row["rtfx"], row["encoder_seconds"]]
        cells = [f"{row['wer']:.2f}", lost, f"{round(row['kl'], 4) + 0.0:.4f}", *(f"{n:.2f}" for n in numbers)]
        cells += [f"{1000 * row['decoder_seconds_per_token']:.1f}", f"{row['float_layers']:.0f}"]
        rows.append([row["engine"], row["method"], *("" if cell == "nan" else cell for cell in cells)])
    header = ["engine", "method", "WER, %", "points lost", "KL", "size", "speed", "encoder, s", "token, ms", "not INT8"]
    return markdown_table(header, rows)


def main() -> None:
    parser = command_line(__doc__, markdown, threads=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--utterances", type=int, help="of each split, to try the benchmark; their numbers say little")
    parser.add_argument("--results", type=Path, help="folder results/MODEL of a run that was made, e.g. by quantize")
    parser.add_argument("--config", type=Path, help="YAML with settings of the workflow that differ from config.yaml")
    parser.add_argument("--only", nargs="+", metavar="ENGINE/METHOD", help="of these, beside openvino/fp32")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    names = [name for name in KINDS if not arguments.only or "/".join(name) in ("openvino/fp32", *arguments.only)]
    subject = prepare(arguments)
    rows = [make(subject, *name) for name in names]
    files = references(subject)
    engines = [Running(subject, row) for row in rows]
    for number, utterance in enumerate(subject.evaluation):
        for engine in engines:
            engine.recognise(utterance, files[utterance.key])
        print(f"recognised {number + 1} of {len(subject.evaluation)}", flush=True)
    for engine in engines:
        engine.finish()
    table = table_of(subject, engines)
    print(table.to_string(index=False))
    write_out(arguments.out, table)


if __name__ == "__main__":
    main()
