"""StableQuant and the tools that one might take instead: ``make peers``, or ``python benchmarks/peers.py --help``.

Every tool quantizes the same recogniser with the same calibration audio, in a process of its own, and every result is
turned into an OpenVINO engine, which recognises the same evaluation audio on this CPU; dynamic quantization by ONNX
Runtime stays there, which column ``engine`` tells. Tools are run as their documentation advises for transformers on
CPUs. Recognisers are the demo, two variants of it that compute the same in floating point but are
harder to quantize (see variants.py), and the demo's second recogniser, with layer norm and pre-norm. All speech is
**synthesised**. It needs the packages of envs/peers.txt beside the project's own; run it in the project's folder.

``seconds`` are those of quantizing, without the import of packages: on the clock for the peers, the writing of
OpenVINO's network included, and as the sum over jobs of StableQuant's workflow, as far as its graph, of seconds times
threads, divided by the cores. ``passes`` are recognitions of the calibration set, whole or from some layer on,
floating-point reference included. ``float_layers`` counts layers of which a product is not INT8 in the graph; of
``nncf-weights`` that is all, although OpenVINO quantizes what they read while it runs. ``rtfx`` is audio seconds per
second, of all engines of one recogniser taking turns. ``behind`` are the points of WER that a method loses against
StableQuant, with the interval of a paired bootstrap.

The peers' engines and what they took are kept in ``results/peers``, so that an interrupted run goes on where it
stopped; without that folder everything is quantized anew. StableQuant's workflow runs as far as something changed, and
all engines are judged each time.
"""

import hashlib
import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from project import CONFIG, PROJECT
from failures import in_one_line, last_line
from float_layers import floating
from judged import OURS, load_network, network_bytes, network_in, points_lost, recognise_split
from own_cost import own_cost
from quantizers import ANSWER, PEERS, Peer
from subject import Subject, read_subject
from tables import OTHERS_KEPT, command_line, with_others
from variants import RECOGNISERS, checkpoint_of

from stablequant.engines.turns import take_turns
from stablequant.recognisers.batches import loaded
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.sizes import MEGABYTE
from stablequant.report.captions import with_interval
from stablequant.report.show import markdown_table
from stablequant.scoring.word_errors import WordErrors
from stablequant.storage.files import checksum, read_json, read_table, write_table
from stablequant.workflow.digest import code_digest

COLUMNS = [
    *(
        "model",
        "method",
        "engine",
        "wer",
        "degradation",
        "ci_low",
        "ci_high",
        "ci_over",
        "size_bytes",
        "rtfx",
        "seconds",
        "passes",
    ),
    *("float_layers", "error", "behind", "behind_low", "behind_high"),
]
TAKEN = PROJECT / "results/peers/taken.tsv"
METHODS = ["fp32", OURS, *PEERS]
SHARED = ("subject", "by_onnxruntime")  # what peers' scripts import
TIMED_SECONDS = 300  # of the evaluation audio


def prepare(name: str, threads: int) -> Subject:
    """Run the workflow for one recogniser as far as its engines, and read what the peers need of it."""
    source = checkpoint_of(name)
    splits = {split: f"tsv/demo-{split}.tsv" for split in ("calibration", "evaluation")}
    models: dict = {"demo": None, name: {"checkpoint": str(source.relative_to(PROJECT)), **splits}}
    overlay = PROJECT / f"results/peers/{name}.yaml"
    overlay.parent.mkdir(parents=True, exist_ok=True)
    overlay.write_text(yaml.safe_dump({"models": models}))
    results = PROJECT / "results" / name
    wanted = [f"results/{name}/engines/openvino/{method}" for method in ("fp32", OURS)]
    snakemake = [sys.executable, "-m", "snakemake", "--cores", str(threads), "--configfile", str(overlay)]
    subprocess.run([*snakemake, "--", *wanted], cwd=PROJECT, check=True)
    return read_subject(results, threads)


def engine_of(subject: Subject, method: str) -> Path:
    """The folder of an OpenVINO network: the workflow's own, or the one that a peer's is written to."""
    if method in PEERS:
        return PROJECT / "results/peers" / subject.name / "engines" / method
    return subject.results / "engines/openvino" / method


def quantize(subject: Subject, method: str) -> dict:
    """Write a peer's network; return ``seconds`` and ``passes``, or the ``error``, as they are kept.

    What was kept counts while its network is there, and recogniser, calibration audio and the peer's code are the same.
    """
    folder, made_of = engine_of(subject, method), made_of_what(subject, PEERS[method])
    kept = read_table(TAKEN) if TAKEN.exists() else pd.DataFrame(columns=["model", "method", "made_of", "error"])
    own = (kept["model"] == subject.name) & (kept["method"] == method)
    known = kept[own & (kept["made_of"] == made_of)]
    if len(known) and (known["error"].notna().any() or network_in(folder)[1].is_file()):
        return known.iloc[0].dropna().to_dict()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    taken = {"model": subject.name, "method": method, "made_of": made_of}
    try:
        taken |= run_alone(subject, method, folder)
    except Exception as error:  # a peer that fails is a result, which another attempt may not meet again
        return taken | {"error": logged(subject, method, error)}
    write_table(TAKEN, pd.concat([kept[~own], pd.DataFrame([taken])], ignore_index=True))
    return taken


def run_alone(subject: Subject, method: str, folder: Path) -> dict:
    """What a peer took that was run in its environment; raise `RuntimeError` with its last line if it fails."""
    command = [PEERS[method].python, PROJECT / "benchmarks/quantizers.py", method, subject.results, folder]
    command += ["--threads", subject.threads]
    log = folder / "log.txt"
    with log.open("w") as file:
        done = subprocess.run(list(map(str, command)), cwd=PROJECT, stdout=file, stderr=file, check=False)
    if done.returncode:
        raise RuntimeError(last_line(log) or f"ended with status {done.returncode}")
    return read_json(folder / ANSWER)


def made_of_what(subject: Subject, peer: Peer) -> str:
    """Digest of what a peer's network depends on: recogniser, calibration audio, code, settings, versions."""
    files = [subject.checkpoint / "model.safetensors", subject.graph, subject.results / "utterances/calibration.tsv"]
    files += [PROJECT / f"envs/{peer.environment}.txt", *(PROJECT / f"benchmarks/{name}.py" for name in SHARED)]
    chosen = {"family": family_of(subject.checkpoint).name, "backend": "openvino"}
    parts = [*(checksum(file) for file in files), code_digest(peer.script, PROJECT, chosen), repr(peer)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def logged(subject: Subject, method: str, error: Exception) -> str:
    """An error as a row holds it; the log has it whole."""
    logging.error("%s, %s", subject.name, method, exc_info=error)
    return in_one_line(error)


def judge(subject: Subject, taken: Sequence[dict]) -> pd.DataFrame:
    """A row for each of ``taken``, fp32's and StableQuant's among them: what its engine recognises, and how fast."""
    rows: list[dict] = []
    scored: dict[str, WordErrors] = {}
    for row in taken:
        if "error" not in row:
            try:
                scored[row["method"]], measures = recognise(subject, row["method"])
                row = row | measures
            except Exception as error:  # an engine that does not run is a result, too
                row = row | {"error": in_one_line(subject, row["method"], error)}
        rows.append(row)
    for row in rows:
        if row["method"] in scored:
            row |= points_lost(scored[row["method"]], scored, CONFIG["seed"])
    judged = pd.DataFrame(rows, columns=COLUMNS)
    return judged.assign(rtfx=judged["method"].map(speeds(subject, list(scored))))


def recognise(subject: Subject, method: str) -> tuple[WordErrors, dict]:
    """The word errors of a method's engine, and its row's own measures."""
    folder = engine_of(subject, method)
    networks, _ = load_network(folder, subject.threads)
    errors = recognise_split(subject.checkpoint, networks, subject.evaluation, CONFIG["batch_mb"])
    library, file = network_in(folder)
    measures: dict = {"wer": errors.wer, "size_bytes": network_bytes(folder), "engine": library.__name__.split(".")[-1]}
    if method != "fp32":
        measures["float_layers"] = len(floating(file, subject.modules))
    print(f"{subject.name} {method}: {errors.wer:.2f} %", flush=True)
    return errors, measures


def speeds(subject: Subject, methods: Sequence[str]) -> dict[str, float]:
    """Seconds of audio per second of the engines of ``methods``, which take turns, batch by batch.

    A machine that slows down slows all of them alike.
    """
    if not methods:
        return {}
    family, draw = family_of(subject.checkpoint), np.random.default_rng(CONFIG["seed"])
    decoders = {}
    for method in methods:
        networks, _ = load_network(engine_of(subject, method), subject.threads)
        decoders[method] = family.decoder(subject.checkpoint, networks)
    batches = decoders[methods[0]].batches(subject.evaluation, CONFIG["batch_mb"] * MEGABYTE)
    taken = dict.fromkeys(decoders, 0.0)
    rate, heard = subject.front_end.sample_rate, 0
    for batch, audio in loaded(batches, rate, f"{subject.name}, in turn"):
        engines = {method: partial(decoder.recognise, audio) for method, decoder in decoders.items()}
        take_turns(engines, draw)  # which makes them ready for this length
        for method, turn in take_turns(engines, draw).items():
            taken[method] += turn.seconds
        heard += sum(u.samples for u in batch)
        if heard >= TIMED_SECONDS * rate:
            break
    return {method: heard / rate / seconds for method, seconds in taken.items()}


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows as `RECOGNISERS` and `METHODS` come."""
    places = table["model"].map(RECOGNISERS.index) * len(METHODS) + table["method"].map(METHODS.index)
    return table.loc[places.sort_values().index].reset_index(drop=True)


def markdown(table: pd.DataFrame) -> str:
    """The table as the README shows it: a row per method, a column per recogniser."""
    models = [m for m in RECOGNISERS if m in set(table["model"])]
    fp32 = table[table["method"] == "fp32"].set_index("model")
    table = table.assign(size=table["size_bytes"] / table["model"].map(fp32["size_bytes"]))
    rows = [["fp32, its WER", *(f"{fp32.loc[m, 'wer']:.2f} %" for m in models), "1", "", ""]]
    for method in [m for m in METHODS[1:] if m in set(table["method"])]:
        own = table[table["method"] == method].set_index("model")
        cells = [_lost(own.loc[m]) if m in own.index else "not run" for m in models]
        rows.append([method, *cells, _span(own["size"], 2), _span(own["passes"], 0), _span(own["float_layers"], 0)])
    return markdown_table(["points of WER lost", *models, "size", "passes", "not INT8"], rows)


def summarise(table: pd.DataFrame) -> str:
    """StableQuant's speed and words beside the others', by recogniser."""
    lines = []
    for model, rows in table[table["wer"].notna()].groupby("model", sort=False):
        own, others = rows.set_index("method"), rows[~rows["method"].isin(["fp32", OURS])]
        speed, least = own.loc[OURS, "rtfx"], others.loc[others["wer"].idxmin()]
        lines.append(
            f"{model}: {speed / own.loc['fp32', 'rtfx']:.2f} times fp32's speed, {speed / others['rtfx'].max():.2f} of "
            f"the fastest other's; the best other, {least['method']}, loses {with_interval(least, 'behind')} points of "
            "WER against StableQuant"
        )
        ratios = rows.set_index("method")["rtfx"].dropna() / own.loc["fp32", "rtfx"]
        lines.append(f"times fp32's speed: {', '.join(f'{m} {ratio:.2f}' for m, ratio in ratios.items())}")
    return "\n".join(lines)


def _lost(row: pd.Series) -> str:
    if pd.isna(row["wer"]):
        return str(row["error"])
    return with_interval(row)


def _span(values: pd.Series, places: int) -> str:
    """The lowest and the highest."""
    ends = [f"{end:.{places}f}" for end in (values.min(), values.max()) if pd.notna(end)]
    return " to ".join(dict.fromkeys(ends))


def main() -> None:
    parser = command_line(__doc__, markdown, summarise, out=OTHERS_KEPT, threads=True)
    parser.add_argument("--models", nargs="+", choices=RECOGNISERS, default=RECOGNISERS)
    parser.add_argument("--methods", nargs="+", choices=list(PEERS), default=list(PEERS), help="beside fp32 and ours")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    for model in arguments.models:
        subject = prepare(model, arguments.threads)
        taken = [
            {"model": model, "method": "fp32"},
            {"model": model, "method": OURS, **own_cost(subject.results, subject.threads)},
        ]
        measured = judge(subject, [*taken, *(quantize(subject, method) for method in arguments.methods)])
        print(measured.round(2).to_string(index=False), flush=True)
        if arguments.out:
            write_table(arguments.out, in_order(with_others(measured, arguments.out))[COLUMNS])


if __name__ == "__main__":
    main()
