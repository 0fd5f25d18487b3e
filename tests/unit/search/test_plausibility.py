"""A reference whose words do not fit the transcripts is refused, with what may be the cause."""

import pytest
from fake_recogniser import KEY, FakeRecogniser, songs, split_of

from stablequant.corpora.utterance import Utterance, score
from stablequant.errors import StableQuantError
from stablequant.search.plausibility import check_plausible, differing_characters, likely_causes
from stablequant.search.recognise_reference import Cache, Files, recognise_reference

TEXTS = [
    "they will open the bottle",
    "can you repair the radio",
    "we need two candles",
    "please bring three flowers",
    "the black lamp stands",
    "no",
    "he sold his orange ladder",
]


def refusal(hypotheses: list[str], most: float, caplog) -> tuple[list[str], str]:
    """What is logged before the refusal, and its sentence; ``hypotheses`` are of `TEXTS`."""
    utterances = [Utterance(f"u{n}", f"/speech/u{n}.wav", 16_000, text, "") for n, text in enumerate(TEXTS)]
    heard = {u.path: text for u, text in zip(utterances, hypotheses, strict=True)}
    caplog.clear()
    with pytest.raises(StableQuantError) as refused:
        check_plausible(utterances, heard, score(utterances, heard), most)
    return caplog.messages, str(refused.value)


def test_five_pairs_the_characters_and_the_causes_are_told(caplog):
    messages, sentence = refusal(["they will open the bottle", *[text.upper() for text in TEXTS[1:]]], 50, caplog)
    assert sentence.startswith("calibration split: fp32 has a WER of 82.14 %, more than 'max_reference_wer' (50 %): ")
    assert "raise 'max_reference_wer' in the config" in sentence and "\n" not in sentence
    *pairs, characters, causes = messages
    assert pairs == [
        f"/speech/u{n}.wav\n  transcript: {TEXTS[n]}\n  hypothesis: {TEXTS[n].upper()}" for n in (1, 2, 3, 4, 5)
    ], "the one that fits is no example"
    assert characters.startswith("characters that differ most, with their numbers in transcripts and hypotheses: ")
    assert "hypotheses: E (0, 15), e (19, 4), A (0, 10)" in characters
    assert "without case, accents and punctuation most words are the same" in causes


def test_a_wer_up_to_the_limit_passes(caplog):
    utterances = [Utterance("u", "/u.wav", 16_000, "one two", "")]
    heard = {"/u.wav": "one too"}
    check_plausible(utterances, heard, score(utterances, heard), 50)
    assert not caplog.messages
    with pytest.raises(StableQuantError, match=r"50\.00 %, more than 'max_reference_wer' \(49\.9 %\)"):
        check_plausible(utterances, heard, score(utterances, heard), 49.9)


@pytest.mark.parametrize(
    ("hypotheses", "cause"),
    [
        ([text.upper() for text in TEXTS], "without case"),
        ([text.replace("e", "\u00e9") for text in TEXTS], "without case, accents"),
        ([text.replace(" ", "") for text in TEXTS], "without spaces"),
        ([" ".join(text.replace(" ", "")) for text in TEXTS], "without spaces"),
        (["", *[""] * 5, "he sold"], "most hypotheses are empty"),
        ([*TEXTS[1:], TEXTS[0]], "in another order"),
        (["\u03b1 \u03b2 \u03b3"] * 7, "other characters than the transcripts"),
        (["n e o l d t h r " * 3] * 7, "the transcripts have 28 words, the hypotheses 168"),
    ],
)
def test_causes(hypotheses, cause):
    (found,) = likely_causes(list(zip(TEXTS, hypotheses, strict=True)))
    assert cause in found


def test_where_nothing_explains_the_errors_common_causes_are_named(caplog):
    messages, _ = refusal(["thousand mile nobody rode" for _ in TEXTS], 50, caplog)
    assert "weights that were not trained" in messages[-1]


def test_characters_are_named_where_they_cannot_be_seen():
    assert differing_characters([("a b c", "a\u0301b")]) == "space (2, 0), c (1, 0), U+0301 (0, 1)"
    assert differing_characters([("ab", "ba")]) == "none"


def test_the_fp32_pass_stops_and_leaves_nothing(tmp_path):
    recogniser = FakeRecogniser(songs())
    split = split_of(recogniser)
    files = Files(tmp_path / "reference.json", tmp_path / "posteriors.safetensors", tmp_path / "hidden_values.json")
    wer = recognise_reference(recogniser, split, files, Cache(KEY, 1)).errors.wer
    assert wer > 0
    recognise_reference(recogniser, split, files, Cache(KEY, 1), max_wer=wer)
    files.summary.unlink()
    with pytest.raises(StableQuantError, match="more than 'max_reference_wer'"):
        recognise_reference(recogniser, split, files, Cache(KEY, 1), max_wer=wer / 2)
    assert not files.summary.exists()
    assert not files.hidden_values.with_suffix("").exists(), "hidden values of a refused reference are kept"


def test_segments_of_one_recording_are_told_apart(caplog):
    utterances = [Utterance(f"u{n}", "/u.wav", 16_000, "one two", "", None, n, n + 1.0) for n in range(2)]
    heard = {u.key: text for u, text in zip(utterances, ["three", "four five"], strict=True)}
    with pytest.raises(StableQuantError, match="WER of 100"):
        check_plausible(utterances, heard, score(utterances, heard), 50)
    assert caplog.messages[0].startswith("/u.wav#0-1.0\n  transcript: one two\n  hypothesis: three")
    assert caplog.messages[1].startswith("/u.wav#1-2.0\n  transcript: one two\n  hypothesis: four five")
