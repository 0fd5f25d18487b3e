"""How a vocabulary marks words: by a token between them, or by marks on the tokens themselves."""

import re
from collections.abc import Callable, Collection, Sequence

SENTENCEPIECE = "\u2581"  # stands before a word: alone, or at the start of a piece
IDEOGRAPHS = re.compile(  # Chinese characters, and Japanese kana
    "[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
DELIMITERS = ("|", " ", SENTENCEPIECE, "_EOW", "_")  # tokens between words; the last two are fairseq's
MARKS: list[tuple[str, Callable[[str], str]]] = [  # which tokens show that a mark is in use, and what a token writes
    (f".*{SENTENCEPIECE}.*", lambda token: token.replace(SENTENCEPIECE, " ")),
    ("\u0120.+", lambda token: token.replace("\u0120", " ")),  # byte-level BPE: a word begins
    (".+</w>", lambda token: token.replace("</w>", " ")),  # BPE: a word ends
    (".+_EOW", lambda token: token.replace("_EOW", " ")),
    (".+@@", lambda token: token.removesuffix("@@") if token.endswith("@@") else f"{token} "),  # the word goes on
    ("##.+", lambda token: token.removeprefix("##") if token.startswith("##") else f" {token}"),  # WordPiece: goes on
]


def find_delimiter(tokens: Collection[str], configured: str | None = None) -> str | None:
    """The token between words: ``configured`` if it is one of ``tokens``, else the most common one, else None.

    ``tokens`` are those that are written, so the blank is none of them. ``_`` is taken only if it also marks pieces, or
    if all tokens are single characters, because among phonemes it may be a pause.
    """
    found = next((token for token in (configured, *DELIMITERS) if token in tokens), None)
    if found != "_" or found == configured:
        return found
    pieces = any(len(token) > 1 and token.startswith("_") for token in tokens)
    return found if pieces or all(len(token) == 1 for token in tokens) else None


def is_written_without_spaces(tokens: Collection[str]) -> bool:
    """Whether most of ``tokens`` are Chinese characters or kana, so that spaces tell nothing about words."""
    return 2 * sum(IDEOGRAPHS.fullmatch(token) is not None for token in tokens) > len(tokens)


def texts_of(tokens: Sequence[str], delimiter: str | None) -> list[str] | None:
    """What each of ``tokens`` writes, with a space where a word begins or ends.

    None if nothing marks words: then every token counts as one.
    """
    if delimiter is not None:
        marks = {SENTENCEPIECE, delimiter} if delimiter in ("_", "_EOW") else {SENTENCEPIECE}
        pattern = "|".join(sorted(marks))
        return [" " if token == delimiter else re.sub(pattern, " ", token) for token in tokens]
    for shown_by, text in MARKS:
        if any(re.fullmatch(shown_by, token) for token in tokens):
            return [text(token) for token in tokens]
    return None
