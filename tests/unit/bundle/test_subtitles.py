"""Subtitles in both formats."""

from stablequant.bundle.answers import verbose
from stablequant.bundle.subtitles import cues, subrip, webvtt
from stablequant.bundle.transcribe import Transcript
from stablequant.recognisers.decoder import Word, text_of


def test_subtitles_end_at_pauses_and_when_they_are_full():
    words = [Word("ONE", 0.0, 0.5), Word("TWO", 0.6, 1.0), Word("THREE", 3600.5, 3661.25)]
    assert subrip(words) == ("1\n00:00:00,000 --> 00:00:01,000\nONE TWO\n\n2\n01:00:00,500 --> 01:01:01,250\nTHREE\n")
    many = [Word("LONGWORD", i * 0.3, i * 0.3 + 0.25) for i in range(40)]
    blocks = subrip(many).split("\n\n")
    assert len(blocks) == 5
    assert all(len(block.splitlines()[2]) <= 84 for block in blocks)
    assert subrip([]) == ""


def test_subtitles_begin_where_the_model_begins_a_segment():
    """Whisper's segments end with sentences. Only one that is too long is split further."""
    begun = [("So", True), ("it", False), ("is.", False), ("Yes.", True), ("But", True), *[("LONGWORD", False)] * 12]
    words = [Word(word, 3 * i / 10, 3 * (i + 1) / 10, begins_segment=begins) for i, (word, begins) in enumerate(begun)]
    *short, first, second = cues(words)
    assert [text_of(cue) for cue in short] == ["So it is.", "Yes."]
    assert [(cue[0].start, cue[-1].end) for cue in short] == [(0.0, 0.9), (0.9, 1.2)]
    assert first[0].word == "But"
    assert not second[0].begins_segment
    assert [s["text"] for s in verbose(Transcript(text_of(words), 9.0, words))["segments"]][:2] == ["So it is.", "Yes."]
    assert subrip(words).startswith(
        "1\n00:00:00,000 --> 00:00:00,900\nSo it is.\n\n2\n00:00:00,900 --> 00:00:01,200\nYes.\n"
    )


def test_webvtt_has_its_header_and_points():
    words = [Word("ONE", 0.0, 0.5), Word("TWO", 3600.5, 3661.25)]
    assert webvtt(words) == "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nONE\n\n01:00:00.500 --> 01:01:01.250\nTWO\n"
    assert webvtt([]) == "WEBVTT\n\n"


def test_a_text_that_looks_like_markup_is_escaped_where_the_format_has_markup():
    """Also an arrow, which would begin another subtitle."""
    words = [Word("AT&T", 0.0, 0.5), Word("<b>", 0.5, 0.6), Word("-->", 0.6, 0.7)]
    assert webvtt(words).endswith("\nAT&amp;T &lt;b&gt; --&gt;\n")
    assert subrip(words).endswith("\nAT&T <b> -->\n")


def test_a_word_without_duration_is_shown():
    """A subtitle that ends when it starts is not valid, and players leave it out."""
    assert "00:00:07.300 --> 00:00:07.301\nONE" in webvtt([Word("ONE", 7.3, 7.3)])
    assert "00:00:07,300 --> 00:00:07,301\nONE" in subrip([Word("ONE", 7.3, 7.3)])
