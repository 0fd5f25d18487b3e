"""A random part of a split in which all speakers are heard alike."""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def balanced_order(items: Sequence[Item], speaker_of: Callable[[Item], str | None], seed: int) -> list[Item]:
    """``items`` in a random order, drawn with ``seed``: one of every speaker, then a second one of every speaker, ...

    So any first part of it has about as many items of each speaker, as long as a speaker has any. Items of which no
    speaker is known count as those of one.
    """
    draw = random.Random(seed)
    by_speaker: dict[str | None, list[Item]] = {}
    for item in items:
        by_speaker.setdefault(speaker_of(item), []).append(item)
    groups = list(by_speaker.values())
    for group in groups:
        draw.shuffle(group)
    ordered = []
    for turn in range(max(map(len, groups), default=0)):
        taken = [group[turn] for group in groups if turn < len(group)]
        draw.shuffle(taken)
        ordered += taken
    return ordered
