"""What `gpu.py` runs, a part to a process: ``python benchmarks/gpu_parts.py PART FILE`` adds its rows to ``FILE``.

Where torch finds no GPU, the parts are rehearsed on the CPU, see `gpu.py`.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from gpu import FOLDER
from gpu_engine import engine
from gpu_graphs import PRECISIONS, graphs
from gpu_machine import machine
from gpu_parity import parity
from gpu_probe import probe
from gpu_search import search
from gpu_tests import tests
from tables import command_line

PARTS: dict[str, Callable[[], Iterator[dict]]] = {
    **{part.__name__: part for part in (machine, tests, parity, graphs)},
    **{f"engine-{precision}": partial(engine, precision) for precision in PRECISIONS},
    **{part.__name__: part for part in (probe, search)},
}


def main() -> None:
    parser = command_line(__doc__, out=None)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("file", type=Path, help="for the rows, a line of JSON each")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for found in PARTS[arguments.part]():
        with arguments.file.open("a") as file:  # at once: a later fault leaves what was measured before it
            file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
