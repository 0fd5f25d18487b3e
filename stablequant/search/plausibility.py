"""Whether the words of fp32 fit the transcripts. Where they do not, no layer seems to lose anything."""

import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stablequant.corpora.utterance import Utterance
from stablequant.errors import StableQuantError
from stablequant.scoring.word_errors import WordErrors, word_errors

PAIRS = 5  # of transcript and hypothesis that are shown
CHARACTERS = 12  # that are shown
CHARACTERS_OF_TEXT = 200  # of a transcript or a hypothesis that are shown
EXAMINED = 200  # utterances in which causes are looked for
SHARE = 0.5  # a cause explains the errors if at most this share of them is left without it
UNKNOWN_CAUSES = (
    "another language or another kind of speech than the recogniser was trained on",
    "weights that were not trained",
    "transcripts of other audio",
)


def check_plausible(
    utterances: Sequence[Utterance], hypotheses: Mapping[str, str], errors: WordErrors, most: float
) -> None:
    """Raise `StableQuantError` if the WER is above ``most`` percent.

    Before, the utterances with the highest error rates are logged, the characters whose numbers differ most, and likely
    causes. ``hypotheses`` are by key, ``errors`` in the order of ``utterances``.
    """
    if errors.wer <= most:
        return
    rates = errors.errors / errors.words
    for number in np.argsort(-rates, kind="stable")[:PAIRS]:
        utterance = utterances[number]
        logging.error(
            "%s\n  transcript: %s\n  hypothesis: %s",
            utterance.key,
            utterance.transcript[:CHARACTERS_OF_TEXT],
            hypotheses[utterance.key][:CHARACTERS_OF_TEXT],
        )
    examined = [(u.transcript, hypotheses[u.key]) for u in utterances[:EXAMINED]]
    logging.error(
        "characters that differ most, with their numbers in transcripts and hypotheses: %s",
        differing_characters(examined),
    )
    logging.error("likely causes:%s", "".join(f"\n  - {cause}" for cause in likely_causes(examined) or UNKNOWN_CAUSES))
    raise StableQuantError(
        "calibration split",
        f"fp32 has a WER of {errors.wer:.2f} %, more than 'max_reference_wer' ({most:g} %): where the words do not fit "
        "the transcripts, quantizing a layer seems to lose nothing, and the search would tell nothing",
        "correct what the lines above show, or raise 'max_reference_wer' in the config if this recogniser is no better "
        "(null allows any WER)",
    )


def differing_characters(pairs: Sequence[tuple[str, str]]) -> str:
    """The characters whose numbers in transcripts and hypotheses differ most, with both numbers."""
    said, heard = (Counter("".join(texts)) for texts in zip(*pairs, strict=True))
    by_difference = sorted(said | heard, key=lambda c: (-abs(said[c] - heard[c]), c))
    different = [c for c in by_difference if said[c] != heard[c]][:CHARACTERS]
    return ", ".join(f"{_name(c)} ({said[c]}, {heard[c]})" for c in different) or "none"


def likely_causes(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What explains most of the errors in pairs of transcript and hypothesis; empty if nothing that is known does."""
    transcripts, hypotheses = map(list, zip(*pairs, strict=True))
    rate = min(100.0, word_errors(transcripts, hypotheses).wer)
    if sum(not text.strip() for text in hypotheses) > SHARE * len(pairs):
        return [
            "most hypotheses are empty: the weights were not trained, another class is the blank, or the audio is not "
            "prepared as the recogniser takes it (do_normalize, sampling_rate)"
        ]
    if _rate(pairs, _bare) <= SHARE * rate:
        return [
            "without case, accents and punctuation most words are the same: the vocabulary or the transcripts are "
            "written otherwise than those that the recogniser was trained on"
        ]
    if _rate(pairs, _characters_apart) <= SHARE * rate:
        return ["without spaces most characters are the same: the vocabulary has another word delimiter than is set"]
    if _fit_others(transcripts, hypotheses):
        return ["most hypotheses fit the transcript of another utterance: the transcripts are in another order"]
    causes = []
    said, heard = set("".join(transcripts)) - {" "}, set("".join(hypotheses)) - {" "}
    if len(said & heard) <= SHARE * min(len(said), len(heard)):
        causes.append(
            "the hypotheses have other characters than the transcripts: another script, or another kind of labels, "
            "such as phonemes and not words (.phn, .wrd)"
        )
    words, found = (sum(len(text.split()) for text in texts) for texts in (transcripts, hypotheses))
    if min(words, found) <= SHARE * max(words, found):
        causes.append(
            f"the transcripts have {words} words, the hypotheses {found}: another kind of labels, such as phonemes or "
            "characters and not words, or transcripts of other audio"
        )
    return causes


def _rate(pairs: Sequence[tuple[str, str]], form: Callable[[str], str]) -> float:
    """WER in percent between the texts in another ``form``."""
    formed = [(form(transcript), form(hypothesis)) for transcript, hypothesis in pairs]
    kept = [(transcript, hypothesis) for transcript, hypothesis in formed if transcript]
    if not kept:
        return 100.0
    return word_errors(*map(list, zip(*kept, strict=True))).wer


def _bare(text: str) -> str:
    kept = (c if c.isalnum() else " " for c in unicodedata.normalize("NFKD", text.casefold()) if not _is_mark(c))
    return " ".join("".join(kept).split())


def _characters_apart(text: str) -> str:
    return " ".join(text.replace(" ", ""))


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _fit_others(transcripts: Sequence[str], hypotheses: Sequence[str]) -> bool:
    """Whether more than half of the hypotheses fit the transcript of another utterance and not their own."""
    said = [set(_bare(text).split()) for text in transcripts]
    moved = 0
    for number, text in enumerate(hypotheses):
        heard = set(_bare(text).split())
        shared = [len(heard & words) / max(1, len(heard | words)) for words in said]
        moved += max(shared) > SHARE >= shared[number]
    return moved > SHARE * len(hypotheses)


def _name(character: str) -> str:
    if character == " ":
        return "space"
    return character if character.isprintable() and not _is_mark(character) else f"U+{ord(character):04X}"
