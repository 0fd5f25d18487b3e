"""Language models of words, as ARPA files hold them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

Unigrams = Mapping[str, tuple[float, float]]  # word -> log10 of its probability, and of the weight to back off with
Bigrams = Mapping[tuple[str, str], float]  # two words -> log10 of the probability of the second behind the first


def arpa_text(unigrams: Unigrams, bigrams: Bigrams) -> str:
    """The content of an ARPA file; ``unigrams`` name ``<s>``, ``</s>`` and ``<unk>`` too."""
    parts = (
        ["\\data\\", f"ngram 1={len(unigrams)}", f"ngram 2={len(bigrams)}"],
        ["\\1-grams:", *(f"{found:.4f}\t{word}\t{back_off:.4f}" for word, (found, back_off) in unigrams.items())],
        ["\\2-grams:", *(f"{found:.4f}\t{' '.join(words)}" for words, found in bigrams.items())],
        ["\\end\\"],
    )
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def arpa_of(transcripts: Sequence[str]) -> str:
    """A model of the words of ``transcripts``; its bigrams are those that begin a sentence."""
    words = Counter(word for text in transcripts for word in [*text.split(), "</s>"])
    firsts = Counter(text.split()[0] for text in transcripts)
    unigrams = {word: (math.log10(count / words.total()), 0.0) for word, count in words.items()}
    bigrams = {("<s>", word): math.log10(count / firsts.total()) for word, count in firsts.items()}
    return arpa_text({"<s>": (-99.0, -3.0), "<unk>": (-6.0, 0.0)} | unigrams, bigrams)
