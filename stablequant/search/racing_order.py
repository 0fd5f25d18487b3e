"""When racing decides, and the order of utterances that leaves it a random part of them to decide by."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

FIRST_LOOK = 0.1  # share of the utterances before the first decision
GROWTH = 1.5  # times as many before the next

T = TypeVar("T")


def looks(total: int) -> list[int]:
    """After how many of ``total`` utterances to decide.

    Few looks, each at half as many again: with every further look it grows more likely that chance decides.
    """
    found = set()
    look = FIRST_LOOK * total
    while (seen := math.ceil(look)) < total:
        found.add(seen)
        look *= GROWTH
    return sorted(found)


def rounds(utterances: Sequence[T], seed: int) -> list[list[T]]:
    """The utterances in a random order, parted where racing decides."""
    order = np.random.default_rng(seed).permutation(len(utterances)).tolist()
    ends = [0, *looks(len(utterances)), len(utterances)]
    return [[utterances[i] for i in order[start:end]] for start, end in pairwise(ends)]
