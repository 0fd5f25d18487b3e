"""Subtitles in both formats."""

from stablequant.bundle.subtitles import subrip, webvtt
from stablequant.recognisers.decoder import Word


def test_subtitles_end_at_pauses_and_when_they_are_full():
    words = [Word("ONE", 0.0, 0.5), Word("TWO", 0.6, 1.0), Word("THREE", 3600.5, 3661.25)]
    assert subrip(words) == ("1\n00:00:00,000 --> 00:00:01,000\nONE TWO\n\n2\n01:00:00,500 --> 01:01:01,250\nTHREE\n")
    many = [Word("LONGWORD", i * 0.3, i * 0.3 + 0.25) for i in range(40)]
    blocks = subrip(many).split("\n\n")
    assert len(blocks) == 5
    assert all(len(block.splitlines()[2]) <= 84 for block in blocks)
    assert subrip([]) == ""


def test_webvtt_has_its_header_and_points():
    words = [Word("ONE", 0.0, 0.5), Word("TWO", 3600.5, 3661.25)]
    assert webvtt(words) == "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nONE\n\n01:00:00.500 --> 01:01:01.250\nTWO\n"
    assert webvtt([]) == "WEBVTT\n\n"
