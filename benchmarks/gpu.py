"""All that was never run on an NVIDIA GPU: ``make gpu``, which takes at most eight minutes and writes one table.

Each part (gpu_parts.py) is a process of its own with a time limit. One that fails leaves a row with its error, keeps
the rows that it had written, and does not stop the others. Without a GPU the same parts are rehearsed on the CPU: the
demo stands for the large recogniser and ONNX Runtime for TensorRT, whose plans are built all the same. A rehearsal's
rows have the device ``cpu``, and they are never written to the GPU's table.

``value`` is in ``unit``; where there is a ``target``, ``met`` says whether it holds. Run it in the project's folder.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from project import PROJECT
from tables import command_line

from stablequant.report.show import markdown_table
from stablequant.storage.files import write_table

TABLE = PROJECT / "benchmarks/gpu.tsv"
REHEARSED = PROJECT / "results/gpu/rehearsal.tsv"
LIMIT = 470  # seconds for all parts together
COLUMNS = ["part", "case", "measure", "value", "unit", "target", "met", "error", "device"]
CPU = "cpu"


class Part(NamedTuple):
    """One part by its name, and the seconds that it may take."""

    name: str
    limit: float


PARTS = [
    Part("machine", 30),
    Part("tests", 60),
    Part("parity", 45),
    Part("graphs", 75),
    Part("engine-fp32", 60),
    Part("engine-fp16", 60),
    Part("engine-int8", 60),
    Part("probe", 75),
    Part("search", 200),
]


def run_parts(parts: Sequence[Part], script: Path, folder: Path, limit: float) -> list[dict]:
    """The rows of ``parts``, which ``script`` runs in order: ``script NAME FILE``, with a line of JSON per row.

    A part gets its own limit or what is left of ``limit``, in seconds.
    """
    end = time.monotonic() + limit
    rows: list[dict] = []
    for part in parts:
        left = min(part.limit, end - time.monotonic())
        found = run_part(part.name, script, folder, left) if left > 0 else [failure("no time was left for it")]
        rows += [{"part": part.name, **row} for row in found]
        print(f"{part.name}: {describe(found)}", flush=True)
    return rows


def run_part(name: str, script: Path, folder: Path, limit: float) -> list[dict]:
    """What one part wrote, and a row with the ``error`` if it failed or took more than ``limit`` seconds."""
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
        try:
            status = process.wait(timeout=limit)
            error = "" if status == 0 else f"{last_line(log)} (status {status}, see {log})"
        except subprocess.TimeoutExpired:
            error = f"took more than {limit:.0f} s, see {log}"
        finally:
            end_session(process)
    lines = [line for line in answer.read_text().splitlines() if line.endswith("}")]  # the last may be half written
    return [*map(json.loads, lines), *([failure(error)] if error else [])]


def end_session(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def failure(error: str) -> dict:
    return {"case": "did not finish", "error": error}


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


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
    failed = [f"- {row.part}: {row.error}" for row in table[table["error"].notna()].itertuples()]
    header = markdown_table(["part", "case", "measure", "value", "target (met)"], rows)
    return "\n".join([header, "", "Could not run:" if failed else "Everything ran.", *failed])


def rounded(value: object) -> str:
    """A number with four digits, as it was measured or read from a table; anything else as it is."""
    try:
        return f"{float(str(value)):.4g}"
    except ValueError:
        return str(value)


def device_name() -> str:
    """The first GPU's name and compute capability; `CPU` if torch finds none."""
    import torch

    if not torch.cuda.is_available():
        return CPU
    return f"{torch.cuda.get_device_name()} ({'.'.join(map(str, torch.cuda.get_device_capability()))})"


def main() -> None:
    parser = command_line(__doc__, markdown)
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], help="only these")
    arguments = parser.parse_args()
    device = device_name()
    out = arguments.out or (REHEARSED if device == CPU else TABLE)
    folder = REHEARSED.parent
    folder.mkdir(parents=True, exist_ok=True)
    if device == CPU:
        print("There is no NVIDIA GPU here: this rehearses on the CPU what would run on one.", flush=True)
    start = time.monotonic()
    chosen = [part for part in PARTS if not arguments.parts or part.name in arguments.parts]
    rows = run_parts(chosen, PROJECT / "benchmarks/gpu_parts.py", folder, LIMIT)
    table = table_of([*rows, *speedups(rows)], device)
    write(table, out)
    print(markdown(table))
    print(f"{time.monotonic() - start:.0f} s on {device}; written to {out}")


if __name__ == "__main__":
    main()
