"""The tables that benchmarks write, and how their command lines name them."""

import argparse
from collections.abc import Callable
from pathlib import Path

import project  # noqa: F401 - it makes the package importable
import pandas as pd

from stablequant.storage.files import read_table, write_table

OTHERS_KEPT = "TSV to write; rows of other models in it are kept"
Show = Callable[[pd.DataFrame], str]


def command_line(
    description: str | None, *shows: Show, out: str | None = "TSV to write", threads: bool = False
) -> argparse.ArgumentParser:
    """A benchmark's command line: ``--out``, the table to write, and ``--markdown``, one to print instead of measuring.

    Parameters
    ----------
    shows: what prints a table as the documents show it; without, there is no ``--markdown``
    out: what is said of ``--out``; None for a script that writes no table
    threads: whether there is ``--threads``
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if out:
        parser.add_argument("--out", type=Path, help=out)
    if shows:
        told = "measure nothing, print this TSV as the documents show it"
        parser.add_argument("--markdown", type=Path, action=_Print, shows=shows, help=told)
    if threads:
        parser.add_argument("--threads", type=int, default=2, help="that every library computes with (2)")
    return parser


def write_out(out: Path | None, table: pd.DataFrame, keep_others: bool = False) -> None:
    """Write ``table`` where ``--out`` says, if it does; with ``keep_others``, below the rows of other models there."""
    if out:
        write_table(out, with_others(table, out) if keep_others else table)


def with_others(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """``table`` below the rows of ``file`` that are of other models, if there is such a file."""
    before = read_table(file) if file.exists() else table.iloc[:0]
    return pd.concat([before[~before["model"].isin(table["model"])], table], ignore_index=True)


class _Print(argparse.Action):
    """Prints a table and ends the program, as ``--help`` prints the usage."""

    def __init__(self, option_strings: list[str], dest: str, shows: tuple[Show, ...], **settings) -> None:
        super().__init__(option_strings, dest, **settings)
        self.shows = shows

    def __call__(self, parser: argparse.ArgumentParser, _namespace: object, file: Path, _option: object = None) -> None:
        table = read_table(file)
        print(*(show(table) for show in self.shows), sep="\n\n")
        parser.exit()
