"""How a vocabulary writes transcripts, so that their spelling causes no word errors."""

import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import cached_property
from itertools import pairwise

APOSTROPHES = "'\u2019\u2018\u02bc"  # left out, without a space, if the vocabulary has none
LIKE_APOSTROPHES = "\u02b9\u02bb\u02bd\ua78c"  # letters in Unicode; they stay if the vocabulary has no apostrophe
MISTYPED_APOSTROPHES = "`\u00b4\u2032\u201b\u05f3\uff07"  # they are apostrophes only between letters
HYPHENS = "-\u2010\u2011\u2013\u2212\u02d7\u058a\u05be\ufe63\uff0d"
QUOTES = '"\u201e\u201c\u201d\u201f\u00ab\u00bb\u2033\u05f4\uff02'
DOT_ABOVE, DOTTED_I, DOTLESS_I, SHARP_S, CAPITAL_SHARP_S = "\u0307", "\u0130", "\u0131", "\u00df", "\u1e9e"
INVISIBLE_MARKS = re.compile("[\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # joiner of graphemes, variation selectors
LATER_JAMO = re.compile("[\u1160-\u11ff]")  # they belong to the syllable that the jamo before them begin
NAMED = re.compile(r"<.+>|\[.+\]|\{.+\}|\(.+\)|madeupword\d+")  # noises, and what fairseq fills its dictionaries with
MIXED = 0.5  # a vocabulary has both cases if one has at least this share of the letters that the other has

Pieces = list[tuple[str, bool]]


class Spelling:
    """Writes words with ``letters``, the tokens of a vocabulary without marks of words.

    They may have one character or several.
    """

    def __init__(self, letters: Collection[str]) -> None:
        self.letters = frozenset(letters)
        by_length = sorted(self.letters, key=lambda token: (-len(token), token))
        self._tokens = {unicodedata.normalize("NFD", token): token for token in by_length}  # the shortest form counts
        self._longest = max(map(len, self._tokens), default=0)
        self._alphabet = frozenset("".join(token for token in letters if not NAMED.fullmatch(token)))
        self._known: dict[str, Pieces] = {}  # these three are caches: words and characters come again
        self._spelled: dict[tuple[str, bool], list[str]] = {}
        self._written: dict[tuple[str, bool], str | None] = {}

    @property
    def has_long_tokens(self) -> bool:
        """Whether some tokens have several characters; names of noises do not count."""
        return any(len(token) > 1 and not NAMED.fullmatch(token) for token in self.letters)

    def words(self, transcript: str) -> list[str]:
        """The words of ``transcript`` as the letters write them.

        - Invisible characters are dropped. Punctuation and symbols become spaces.
        - Apostrophes, hyphens and quotes become those of the vocabulary.
        - A letter gets the other case if it can only be written so. Then the whole transcript gets the case that most
          of the vocabulary has, as far as it can be written in it.
        - Letters and their accents become one character or several (NFC, NFD), as the vocabulary has them.

        All this is done only to what cannot be written as it is. What cannot be written at all stays.
        """
        visible = self.visible(transcript)
        cased = any(self._needs_other_case(c) for c in set(unicodedata.normalize("NFC", visible)))
        found = []
        for typed in visible.split():
            if (typed, cased) not in self._spelled:
                self._spelled[typed, cased] = list(self._words(typed, cased))
            found += self._spelled[typed, cased]
        return found

    def visible(self, text: str) -> str:
        """``text`` without invisible characters (Unicode's Cf and Cc, variation selectors) that are no letters here."""
        return "".join(c for c in text if c in self._alphabet or c.isspace() or not _is_invisible(c))

    def split(self, word: str) -> Pieces:
        """``word`` in tokens; True beside each, and False beside a character that is in no token.

        As few characters as possible are left, in as few tokens as possible: so the longest tokens are taken, and a
        letter with its accent rather than both apart. Canonically equivalent text matches (NFC and NFD).
        """
        if word not in self._known:
            composed = unicodedata.normalize("NFC", word)
            pieces = [(c, True) for c in composed] if self.letters.issuperset(composed) else self._fewest(composed)
            if not all(written for _, written in pieces) and self.letters.issuperset(word):
                pieces = [(c, True) for c in word]
            self._known[word] = pieces
        return self._known[word]

    def _fewest(self, composed: str) -> Pieces:
        """`split` by dynamic programming from the end, over the decomposed word."""
        text, ends = "", [0]
        for character in _with_their_accents(composed):
            text += unicodedata.normalize("NFD", character)
            ends.append(len(text))
        following = dict(pairwise(ends))
        best: dict[int, tuple[int, int, int, str | None]] = {len(text): (0, 0, len(text), None)}
        for start in range(len(text) - 1, -1, -1):
            found: list[tuple[int, int, int, str | None]] = []
            for stop in range(min(len(text), start + self._longest), start, -1):
                if stop in best and text[start:stop] in self._tokens:
                    left, count, *_ = best[stop]
                    found.append((left, count + 1, stop, self._tokens[text[start:stop]]))
            if start in following:
                left, count, *_ = best[following[start]]
                found.append((left + 1, count + 1, following[start], None))
            if found:
                best[start] = min(found, key=lambda option: option[:2])
        pieces, place = [], 0
        while place < len(text):
            _, _, stop, token = best[place]
            pieces.append((token or unicodedata.normalize("NFC", text[place:stop]), token is not None))
            place = stop
        return pieces

    def _words(self, typed: str, cased: bool) -> Iterator[str]:
        """What becomes of one word of the transcript: mostly one word, several where punctuation was inside."""
        if NAMED.fullmatch(typed) and typed in self.letters:
            yield typed
            return
        composed = unicodedata.normalize("NFC", typed)
        if not self._has_dot_above:  # Python's lower() makes i and a dot of the dotted capital I
            composed = composed.replace(f"i{DOT_ABOVE}", DOTTED_I if self._case == "upper" else "i")
        around = f" {composed} "
        threes = zip(around, composed, around[2:], strict=False)
        text = "".join(self._character(before, character, after, cased) for before, character, after in threes)
        for word in [typed] if text == composed == unicodedata.normalize("NFC", typed) else text.split():
            pieces = self.split(word)
            spelled = "".join(" " if not written and _is_punctuation(p) else p for p, written in pieces)
            # Where only the order of the accents differs, the order of the transcript stays.
            yield from (word if sorted(spelled) == sorted(word) else spelled).split()

    def _character(self, before: str, character: str, after: str, cased: bool) -> str:
        """``character`` between two others, as the letters write it."""
        if self._writes(character) and not cased:
            return character
        if self._case == "lower" and character == "\u03a3" and before.isalpha() and not after.isalpha():
            return "\u03c2" if self._writes("\u03c2") else "\u03c3"
        key = character, cased
        if key not in self._written:
            self._written[key] = next(filter(self._writes, self._cases(character, cased)), None)
        if (written := self._written[key]) is not None:
            return written
        if _is_punctuation(character) or character in APOSTROPHES + LIKE_APOSTROPHES:
            return self._mark(before, character, after)
        return self._changed(character)

    def _mark(self, before: str, mark: str, after: str) -> str:
        """An apostrophe, hyphen or quote as the vocabulary has it; otherwise nothing for an apostrophe, or a space."""
        inside = _is_letter(before), _is_letter(after)
        if mark in APOSTROPHES + LIKE_APOSTROPHES or (mark in MISTYPED_APOSTROPHES and all(inside)):
            own = self._own(APOSTROPHES + LIKE_APOSTROPHES + MISTYPED_APOSTROPHES)
            lacking = "" if mark in APOSTROPHES else mark if mark in LIKE_APOSTROPHES else " "
            return own[0] if own else lacking
        if mark in HYPHENS and any(inside) and (own := self._own(HYPHENS)):
            return own[0]
        if mark in QUOTES and (own := self._own(QUOTES)):
            if own[0] == QUOTES[0]:
                return own[0]
            opening = next((quote for quote in own if unicodedata.category(quote) in ("Ps", "Pi")), own[0])
            closing = next((quote for quote in own if quote != opening), opening)
            return closing if inside[0] else opening
        return " "

    def _own(self, marks: str) -> list[str]:
        return [mark for mark in marks if mark in self._alphabet]

    def _writes(self, text: str) -> bool:
        """Whether every character of ``text`` is a part of some token, alone or decomposed."""
        return all(c in self._alphabet or self._alphabet.issuperset(unicodedata.normalize("NFD", c)) for c in text)

    @cached_property
    def _has_dot_above(self) -> bool:
        return DOT_ABOVE in self._alphabet

    @cached_property
    def _case(self) -> str | None:
        """The case that most letters of the vocabulary have; None if it has both or none."""
        letters = [c for c in self._alphabet if c.upper() != c.lower()]
        upper, lower = (len({c.lower() for c in letters if c == change(c)}) for change in (str.upper, str.lower))
        if min(upper, lower) >= MIXED * max(upper, lower):
            return None
        return "upper" if upper > lower else "lower"

    def _needs_other_case(self, character: str) -> bool:
        return not self._writes(character) and any(map(self._writes, self._cases(character, True)))

    def _cases(self, character: str, cased: bool) -> list[str]:
        """``character`` in both cases, in the order in which they are tried."""
        changed = self._changed(character)
        first = [changed, character] if cased else [character, changed]
        if character in (SHARP_S, CAPITAL_SHARP_S):
            first = [SHARP_S, CAPITAL_SHARP_S]  # both are written SS in upper case only if the vocabulary has neither
        folded = character.casefold()
        others = [folded, character.swapcase(), folded.upper(), folded.lower()]
        if character in (DOTTED_I, DOTLESS_I):
            others += ["I", "i"] if self._case == "upper" else ["i", "I"]
        return [*first, changed, *others]

    def _changed(self, character: str) -> str:
        """``character`` in the case of the vocabulary, with Turkish rules if it has one of the Turkish letters I.

        A combining dot among the letters shows that their case was not changed by Turkish rules.
        """
        if self._case == "upper":
            return DOTTED_I if character == "i" and DOTTED_I in self._alphabet else character.upper()
        if self._case == "lower":
            if character == "I" and DOTLESS_I in self._alphabet and not self._has_dot_above:
                return DOTLESS_I
            return character.lower()
        return character


def _with_their_accents(composed: str) -> list[str]:
    """The characters of a word in NFC, each with the combining characters behind it."""
    characters: list[str] = []
    for c in composed:
        if characters and (unicodedata.combining(c) or LATER_JAMO.match(c)):
            characters[-1] += c
        else:
            characters.append(c)
    return characters


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cf", "Cc") or INVISIBLE_MARKS.match(character) is not None


def _is_punctuation(text: str) -> bool:
    return all(unicodedata.category(c)[0] in "PS" for c in text)


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"
