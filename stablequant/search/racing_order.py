"""When racing decides, and an order of utterances so that each decision uses a random part of them."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

FIRST_LOOK = 0.1  # share of the utterances before the first decision
GROWTH = 1.5  # factor from the number of utterances at one decision to that at the next

T = TypeVar("T")


def decision_points(total: int) -> list[int]:
    """Numbers of utterances, out of ``total``, after which racing decides.

    There are few decisions, because each one adds a chance of a wrong decision.
    """
    found = set()
    look = FIRST_LOOK * total
    while (seen := math.ceil(look)) < total:
        found.add(seen)
        look *= GROWTH
    return sorted(found)


def split_at_decisions(utterances: Sequence[T], seed: int) -> list[list[T]]:
    """``utterances`` in a random order, drawn with ``seed``, in one part before each decision of racing.

    It is the reverse of the order in which `Split.sample` draws. So the first decisions judge on other audio than that
    on which weights were rounded.
    """
    order = np.random.default_rng(seed).permutation(len(utterances))[::-1].tolist()
    ends = [0, *decision_points(len(utterances)), len(utterances)]
    return [[utterances[i] for i in order[start:end]] for start, end in pairwise(ends)]
