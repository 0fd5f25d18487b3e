"""All that was never run on an NVIDIA GPU: ``make gpu``, which takes at most eight minutes and writes one table.

Each part (gpu_parts.py) is a process of its own with a time limit. One that fails leaves a row with its error, keeps
the rows that it had written, and does not stop the others. The table is written anew after each part. Without a GPU the
same parts are rehearsed on the CPU: the demo stands for the large recogniser and ONNX Runtime for TensorRT, whose plans
are built all the same. A rehearsal's rows have the device ``cpu``, and they are never written to the GPU's table.

``value`` is in ``unit``; where there is a ``target``, ``met`` says whether it holds. Run it in the project's folder.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from project import PROJECT
from failures import last_line
from tables import command_line

from stablequant.report.show import markdown_table
from stablequant.storage.files import write_table
from stablequant.workflow.resources import has_gpu

TABLE = PROJECT / "benchmarks/gpu.tsv"
FOLDER = PROJECT / "results/gpu"
REHEARSED = FOLDER / "rehearsal.tsv"
SOME = FOLDER / "parts.tsv"  # of a run of some parts only
LIMIT = 470  # seconds for everything
ANSWER = 60  # seconds in which torch must say whether it can use the GPU
COLUMNS = ["part", "case", "measure", "value", "unit", "target", "met", "error", "device"]
CPU = "cpu"
WHOLE = "did not finish"  # the case of a part's own error
NAME = "import torch; print(torch.cuda.get_device_name(), '(%d.%d)' % torch.cuda.get_device_capability())"


class Part(NamedTuple):
    """One part of the table.

    Attributes
    ----------
    name: its name
    limit: seconds that it may take in any case; what the parts before it left is added
    early: whether it starts with the first part, because it computes long on the CPU and the next parts are not timed
    """

    name: str
    limit: float
    early: bool = False


PARTS = [
    Part("machine", 20),
    Part("tests", 35),
    Part("parity", 25),
    Part("graphs", 90, early=True),
    Part("engine-fp32", 50),
    Part("engine-fp16", 50),
    Part("engine-int8", 50),
    Part("probe", 45),
    Part("search", 100),
]


class Running(NamedTuple):
    """A part's process, and the files of its rows and of what it says."""

    process: subprocess.Popen
    rows: Path
    log: Path


def run_parts(parts: Sequence[Part], script: Path, folder: Path, limit: float) -> Iterator[list[dict]]:
    """The rows of each of ``parts`` in turn, which ``script`` runs: ``script NAME FILE``, with a line of JSON per row.

    All take at most ``limit`` seconds. After an interrupt the rows of what ran are kept, and no other part starts.
    """
    end = time.monotonic() + limit
    interrupted = False
    early = {part.name: start(part.name, script, folder) for part in parts if part.early}
    try:
        for number, part in enumerate(parts):
            left = end - time.monotonic() - sum(later.limit for later in parts[number + 1 :])
            found = [failure("interrupted")]
            if left <= 0:
                found = [failure("no time was left for it")]
            elif not interrupted:
                running = early.get(part.name) or start(part.name, script, folder)
                try:
                    found = finish(running, left)
                except KeyboardInterrupt:
                    interrupted = True
                    found = [*written(running), *found]
            print(f"{part.name}: {describe(found)}", flush=True)
            yield [{"part": part.name, **row} for row in found]
    finally:
        for running in early.values():
            end_session(running.process)


def start(name: str, script: Path, folder: Path) -> Running:
    """Start a part, which writes into ``folder``."""
    answer, log = folder / f"{name}.jsonl", folder / f"{name}.log"
    answer.write_text("")
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, script, name, answer],
            cwd=PROJECT,
            stdout=file,
            stderr=file,
            start_new_session=True,  # so that what it started ends with it
        )
    return Running(process, answer, log)


def finish(running: Running, limit: float) -> list[dict]:
    """What a part wrote, and a row with the ``error`` if it failed or takes more than ``limit`` seconds from now."""
    try:
        in_time = ends_within(running.process, limit)
    finally:
        end_session(running.process)
    rows, status = written(running), running.process.returncode
    if not in_time:
        rows.append(failure(f"took more than {limit:.0f} s, see {shown(running.log)}"))
    elif status:
        said = last_line(running.log) or "it said nothing"
        rows.append(failure(f"{said} (status {status}, see {shown(running.log)})"))
    return rows


def ends_within(process: subprocess.Popen, seconds: float) -> bool:
    """Whether a process ends in so many seconds.

    Its status is left to be asked for: until then the system gives its number, which is its session's, to no other.
    """
    end = time.monotonic() + seconds
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def written(running: Running) -> list[dict]:
    """The rows that a part has written so far."""
    lines = running.rows.read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]  # the last may be half written


def shown(file: Path) -> Path:
    """``file`` as the table names it, the same on every machine."""
    return file.relative_to(PROJECT) if file.is_relative_to(PROJECT) else file


def end_session(process: subprocess.Popen) -> None:
    """End a process and all that it started; nothing happens the second time."""
    if process.returncode is None:  # nobody waited for it yet, so that its number is still its own
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def failure(error: str) -> dict:
    return {"case": WHOLE, "error": error}


def describe(rows: Sequence[Mapping]) -> str:
    """How a part went, in a line."""
    errors = [str(row["error"]) for row in rows if row.get("error")]
    missed = sum(row.get("met") == "no" for row in rows)
    done = f"{len(rows) - len(errors)} rows" + (f", {missed} off their target" if missed else "")
    return "; ".join([done, *errors])


def speedups(rows: Sequence[Mapping]) -> list[dict]:
    """How many times as fast as fp32's the other engines of TensorRT are, for each measure in ``s``."""
    seconds = {
        (row["part"], row["case"], row["measure"]): row["value"]
        for row in rows
        if row["part"].startswith("engine-") and row.get("measure") == "median latency"
    }
    return [
        {
            "part": part,
            "case": case,
            "measure": "times as fast as fp32",
            "value": seconds["engine-fp32", case, measure] / value,
        }
        for (part, case, measure), value in seconds.items()
        if part != "engine-fp32" and ("engine-fp32", case, measure) in seconds
    ]


def table_of(rows: Sequence[Mapping], device: str) -> pd.DataFrame:
    """`COLUMNS`, all of one ``device``."""
    return pd.DataFrame(rows, columns=COLUMNS[:-1]).assign(device=device)


def write(table: pd.DataFrame, file: Path) -> None:
    """Write a table; raise `ValueError` if rows of the CPU would enter the GPU's."""
    if file.resolve() == TABLE and (table["device"] == CPU).any():
        raise ValueError(f"{TABLE} is for what ran on a GPU")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, table)


def markdown(table: pd.DataFrame) -> str:
    """The table as the documents show it, and what could not run below it."""
    ran = table[table["error"].isna()]
    rows = []
    for row in ran.itertuples():
        value = str(row.value) if row.part == "machine" else rounded(row.value)
        target = f"{row.target} ({row.met})" if pd.notna(row.target) else ""
        rows.append([row.part, row.case, row.measure, f"{value} {row.unit if pd.notna(row.unit) else ''}", target])
    refused = table[table["error"].notna()].itertuples()
    failed = [f"- {row.part}{'' if row.case == WHOLE else f', {row.case}'}: {row.error}" for row in refused]
    header = markdown_table(["part", "case", "measure", "value", "target (met)"], rows)
    return "\n".join([header, "", "Could not run:" if failed else "Everything ran.", *failed])


def rounded(value: object) -> str:
    """A number with four digits, as it was measured or read from a table; anything else as it is."""
    try:
        return f"{float(str(value)):.4g}"
    except ValueError:
        return str(value)


def device_name() -> str:
    """The first GPU's name and compute capability; `CPU` if there is none.

    A process of its own asks, because a broken driver may never answer. Ends the program if torch cannot use the GPU.
    """
    question = [sys.executable, "-c", NAME]
    try:
        asked = subprocess.run(question, capture_output=True, text=True, timeout=ANSWER, check=False)
    except subprocess.TimeoutExpired:
        sys.exit(f"torch does not say within {ANSWER} s whether it can use a GPU. Does nvidia-smi answer?")
    if asked.returncode == 0:
        return asked.stdout.strip()
    if has_gpu():
        sys.exit(
            f"This machine has an NVIDIA GPU, but torch cannot use it: {asked.stderr.strip().splitlines()[-1]}\n"
            "It needs NVIDIA's driver, version 580 or newer, and torch's build for CUDA. If another build was "
            "installed, remove .venv, and run 'make gpu' without PIP_FIND_LINKS and PIP_EXTRA_INDEX_URL."
        )
    return CPU


def main() -> None:
    parser = command_line(__doc__, markdown)
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], help="only these")
    arguments = parser.parse_args()
    begun = time.monotonic()
    device = device_name()
    complete = REHEARSED if device == CPU else TABLE
    out = arguments.out or (SOME if arguments.parts else complete)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if device == CPU:
        print("There is no NVIDIA GPU here: this rehearses on the CPU what would run on one.", flush=True)
    for number in (signal.SIGTERM, signal.SIGHUP):  # the latter comes when a connection ends
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    chosen = [part for part in PARTS if not arguments.parts or part.name in arguments.parts]
    rows: list[dict] = []
    left = LIMIT - (time.monotonic() - begun)
    for found in run_parts(chosen, PROJECT / "benchmarks/gpu_parts.py", FOLDER, left):
        rows += found
        table = table_of([*rows, *speedups(rows)], device)
        write(table, out)
    print(markdown(table))
    print(f"{time.monotonic() - begun:.0f} s on {device}; written to {shown(out)}")


if __name__ == "__main__":
    main()
