"""Where the parts of `gpu.py` run, on a GPU or rehearsed on the CPU, and the rows that they give."""

import shutil
from pathlib import Path

import torch
from project import CONFIG

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
BATCH_MB = 2000 if GPU else CONFIG["batch_mb"]
THREADS = torch.get_num_threads()


def row(case: str, measure: str, value: object, unit: str | None = None, at_most: float | None = None) -> dict:
    """A row of the table; ``at_most`` is its target, which a rehearsal does not judge."""
    found = {"case": case, "measure": measure, "value": value, "unit": unit}
    if at_most is not None:
        met = "yes" if float(str(value)) <= at_most else "no"
        found |= {"target": f"<= {at_most:g}", "met": met if GPU else "rehearsed"}
    return found


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
