"""Let engines take turns, so that a machine that gets slower or faster harms or helps all of them alike."""

import time
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np

Result = TypeVar("Result")


class Turn(NamedTuple, Generic[Result]):
    """What one engine returned in its turn, and the seconds that this took."""

    seconds: float
    result: Result


def take_turns(engines: Mapping[str, Callable[[], Result]], draw: np.random.Generator) -> dict[str, Turn[Result]]:
    """Call each of ``engines`` once, in an order that ``draw`` chooses; return what they gave by name."""
    turns = {}
    for name in draw.permutation(list(engines)):
        start = time.perf_counter()
        result = engines[name]()
        turns[str(name)] = Turn(time.perf_counter() - start, result)
    return turns
