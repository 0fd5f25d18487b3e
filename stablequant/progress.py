"""Progress of long work: a bar on a terminal, a line from time to time in a log."""

import sys
from collections.abc import Iterable
from typing import Any, TypeVar, overload

from tqdm import tqdm

Item = TypeVar("Item")


@overload
def progress(items: Iterable[Item], *, label: str) -> "tqdm[Item]": ...
@overload
def progress(*, label: str, total: int | None = None) -> "tqdm[None]": ...
def progress(items: Iterable[Item] | None = None, *, label: str, total: int | None = None) -> "tqdm[Item] | tqdm[None]":
    """Iterate over ``items`` and show the progress as items per second, with ``label`` in front.

    Without ``items`` the progress advances with each call of ``update``, up to ``total``.
    """
    interval = 0.5 if sys.stderr.isatty() else 20
    bar: tqdm[Any] = tqdm(items, desc=label, total=total, unit="it", mininterval=interval, maxinterval=interval)
    return bar
