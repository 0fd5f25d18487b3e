"""Subtitles in SubRip's form."""

from stablequant.bundle.subtitles import subtitles
from stablequant.recognisers.family import Word


def test_subtitles_end_at_pauses_and_when_they_are_full():
    words = [Word("ONE", 0.0, 0.5), Word("TWO", 0.6, 1.0), Word("THREE", 3600.5, 3661.25)]
    assert subtitles(words) == (
        "1\n00:00:00,000 --> 00:00:01,000\nONE TWO\n\n2\n01:00:00,500 --> 01:01:01,250\nTHREE\n"
    )
    many = [Word("LONGWORD", i * 0.3, i * 0.3 + 0.25) for i in range(40)]
    blocks = subtitles(many).split("\n\n")
    assert len(blocks) == 5
    assert all(len(block.splitlines()[2]) <= 84 for block in blocks)
    assert subtitles([]) == ""
