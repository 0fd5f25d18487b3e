"""A drawn part of a split: every speaker alike, the same again with the same seed."""

from collections import Counter

from stablequant.corpora.draw import balanced_order

ITEMS = [f"{speaker}{number}" for speaker, count in (("a", 50), ("b", 5), ("c", 5)) for number in range(count)]


def speaker(item: str) -> str:
    return item[0]


def test_any_first_part_has_as_many_items_of_each_speaker():
    order = balanced_order(ITEMS, speaker, 0)
    assert sorted(order) == sorted(ITEMS)
    for length in range(3, 16, 3):
        assert set(Counter(map(speaker, order[:length])).values()) == {length // 3}


def test_the_seed_decides():
    assert balanced_order(ITEMS, speaker, 1) == balanced_order(ITEMS, speaker, 1) != balanced_order(ITEMS, speaker, 2)
    assert balanced_order([], speaker, 0) == []
