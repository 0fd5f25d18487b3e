"""Beam search for words with an n-gram language model and hot words, by the package ctc-beam-decoder."""

import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from stablequant.errors import StableQuantError, missing_package
from stablequant.recognisers.ctc.alignment import Aligner
from stablequant.recognisers.ctc.language_model import read_words
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.ctc.words import log_posteriors, word_on
from stablequant.recognisers.decoder import BeamSearch, Word

WORD_BEGINS = "\u2581"  # marks a token that begins a word, for the package
END = "</s>"  # the word that ends each text; language models know it
CERTAIN, IMPOSSIBLE = 0.0, -100.0  # logarithms of probabilities
STRETCH = 1500  # most frames of one search, 30 s at the usual rate; the package keeps copies of the whole text
UNWRITABLE = 0.5  # share of a language model's words above which it was made for another spelling


class WordSearch:
    """Searches for the words of a recording. Many threads may share one.

    Raises `StableQuantError` if the package is missing, if ``settings`` name a file that is no language model or words
    that the recogniser cannot write, or if the package cannot search with the vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary, settings: BeamSearch) -> None:
        try:
            from ctc_beam_decoder import BeamSearchDecoder
        except (ImportError, OSError) as error:
            raise missing_package("beam search", f"ctc-beam-decoder ({error})", "lm") from error
        labels, self._groups = _labels(vocabulary)
        self._last_frames = _last_frames(labels)
        file = settings.language_model
        words = None if file is None else _known_words(file, vocabulary)
        try:
            self._decoder = BeamSearchDecoder(
                [*labels, END if " " in labels else WORD_BEGINS + END],
                kenlm_model_path=file,
                unigrams=words and [*words, END],
                alpha=settings.weight,
                beta=settings.word_bonus,
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[-1]  # before it stand places in KenLM's source
            raise StableQuantError(
                file or "beam search", f"no beam search with it ({reason})", "give a model as ARPA or KenLM's binary"
            ) from error
        self._beam, self._hot_weight = settings.beam, settings.hot_word_weight
        self._hot_words = [_hot_word(word, vocabulary) for word in settings.hot_words]
        self._aligner = Aligner(vocabulary)
        self._begins_word = np.array([vocabulary.written(c).startswith(" ") for c in range(len(vocabulary.tokens))])

    def text(self, logits: np.ndarray) -> str:
        """The best text for ``logits`` ``(frames, classes)``."""
        return " ".join(word for word, _, _ in self._found(log_posteriors(logits)))

    def words(self, logits: np.ndarray, frame_seconds: float) -> list[Word]:
        """The words of the best text, see `stablequant.recognisers.ctc.words.words_of`.

        Times and confidence of a word are those of the most probable path that writes it where the search found it, so
        they say what was heard; the language model does not change them.
        """
        posteriors = log_posteriors(logits)
        found = list(self._found(posteriors))
        words: list[Word] = []
        first = 0
        for number, (word, start, end) in enumerate(found):
            last = found[number + 1][1] if number + 1 < len(found) else len(posteriors)
            first, last = min(first, start), max(last, end)
            aligned = self._aligner.align(word, posteriors[first:last])
            if aligned is None:  # the search counts frames of another path
                words.append(Word(word, round(start * frame_seconds, 3), round(end * frame_seconds, 3)))
                first = end
                continue
            path, tokens = aligned
            spoken = np.concatenate([np.arange(frames.start, frames.stop) for frames in tokens])
            heard = posteriors[first + spoken, path[spoken]]
            begin, first = first + tokens[0].start, first + tokens[-1].stop
            words.append(word_on(word, heard, begin, first, frame_seconds))
        return words

    def _found(self, posteriors: np.ndarray) -> Iterator[tuple[str, int, int]]:
        """Words with the first frame and the frame behind the last one.

        Each text is ended by `END` in further frames. Otherwise the package (0.2.0, and pyctcdecode 0.5.0) scores texts
        that end with a space as if an unknown word followed, and it does so by chance where both endings are alike.
        """
        columns = np.full((len(posteriors), len(self._groups) + 1), IMPOSSIBLE, dtype=np.float32)
        for column, group in enumerate(self._groups):
            columns[:, column] = np.logaddexp.reduce(posteriors[:, group], axis=1)
        for stretch in self._stretches(posteriors.argmax(axis=1)):
            beams = self._decoder.decode_beams(
                np.concatenate([columns[stretch], self._last_frames]),
                beam_width=self._beam,
                prune_history=True,
                hotwords=self._hot_words,
                hotword_weight=self._hot_weight,
            )
            for word, (start, end) in beams[0][2][:-1]:
                yield word, stretch.start + start, stretch.start + end

    def _stretches(self, path: np.ndarray) -> Iterator[slice]:
        """Parts of at most `STRETCH` frames, cut where words end on the best ``path`` ``(frames,)``."""
        start = 0
        while len(path) - start > STRETCH:
            cut = start + self._pause(path[start : start + STRETCH])
            yield slice(start, cut)
            start = cut
        if start < len(path):
            yield slice(start, len(path))

    def _pause(self, path: np.ndarray) -> int:
        """Frame in the second half of ``path`` in the middle of the longest pause between words."""
        silent = np.isin(path, self._aligner.around)
        between = np.isin(path, self._aligner.spaces)
        best, found = (False, 0), len(path)
        stop = 0
        for quiet, group in groupby(silent.tolist()):
            begin, stop = stop, stop + sum(1 for _ in group)
            if not quiet or begin < len(path) // 2:
                continue
            ends_word = bool(between[begin:stop].any()) or (stop < len(path) and bool(self._begins_word[path[stop]]))
            if (ends_word, stop - begin) > best:
                best, found = (ends_word, stop - begin), (begin + stop) // 2
        return max(1, found)


def _labels(vocabulary: Vocabulary) -> tuple[list[str], list[list[int]]]:
    """The package's labels, the blank first, and the classes that each stands for.

    Classes that write nothing part repeated letters as the blank does, so they are counted as blank.
    """
    groups: dict[str, list[int]] = {"": [vocabulary.blank]}
    for index in range(len(vocabulary.tokens)):
        if index != vocabulary.blank:
            groups.setdefault(vocabulary.written(index), []).append(index)
    texts = list(groups)[1:]
    inside = [text.strip(" ") for text in texts]
    if " " in groups and all(text == " " or " " not in text for text in texts):
        return list(groups), list(groups.values())
    if all(text == f"{word} " for text, word in zip(texts, inside, strict=True)):  # each token is a word
        return ["", *(WORD_BEGINS + word for word in inside)], list(groups.values())
    if all(word and text in (word, f" {word}") for text, word in zip(texts, inside, strict=True)):
        return ["", *(text.replace(" ", WORD_BEGINS) for text in texts)], list(groups.values())
    raise StableQuantError(
        "vocab.json", "no beam search is known for the way in which its tokens mark words", "leave out --lm"
    )


def _last_frames(labels: Sequence[str]) -> np.ndarray:
    """Frames that write a space, if ``labels`` have one, and `END`, the last column."""
    written = [labels.index(" "), len(labels)] if " " in labels else [len(labels)]
    frames = np.full((len(written), len(labels) + 1), IMPOSSIBLE, dtype=np.float32)
    frames[np.arange(len(written)), written] = CERTAIN
    return frames


def _known_words(file: Path, vocabulary: Vocabulary) -> list[str]:
    """The words of a language model; raise `StableQuantError` if most are spelled as the recogniser never spells."""
    words = read_words(file)
    odd = [word for word in words if vocabulary.unknown([word])]
    if len(odd) > UNWRITABLE * len(words):
        letters = "".join(sorted({c for i in range(len(vocabulary.tokens)) for c in vocabulary.written(i).strip()}))
        raise StableQuantError(
            file,
            f"{len(odd)} of its {len(words)} words, such as '{odd[0]}', are not spelled with the recogniser's letters",
            f"train it on text with these only: {letters[:100]}",
        )
    if odd:
        logging.warning("%s: %d of %d words cannot be written, such as '%s'", file, len(odd), len(words), odd[0])
    return words


def _hot_word(typed: str, vocabulary: Vocabulary) -> str:
    """A hot word as the recogniser spells it; raise `StableQuantError` if it cannot."""
    spelled = vocabulary.spell(typed)
    missing: Sequence[str] = sorted(vocabulary.unknown([spelled]))
    if not spelled or missing:
        fault = f"the recogniser cannot write {' '.join(missing)}" if missing else "nothing of it can be written"
        raise StableQuantError(f"hot word '{typed}'", fault, "spell it with the recogniser's letters")
    return spelled
