"""Progress of long work: a bar on a terminal, a line every so often in a log."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item] | None = None, *, label: str, total: int | None = None) -> tqdm:
    """Go through ``items``, or count ``update`` calls up to ``total``, in items per second."""
    interval = 0.5 if sys.stderr.isatty() else 20
    return tqdm(items, desc=label, total=total, unit="it", mininterval=interval, maxinterval=interval)
