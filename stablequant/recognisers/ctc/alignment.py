"""Where a word lies in a recording: the most probable CTC path that writes it."""

import numpy as np

from stablequant.recognisers.ctc.vocabulary import Vocabulary


class Aligner:
    """Finds words of one vocabulary.

    Attributes
    ----------
    spaces: classes that write only a space
    around: these, and all classes that write nothing; they may stand before and behind a word
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        texts = [vocabulary.written(index) for index in range(len(vocabulary.tokens))]
        self._nothing = [index for index, text in enumerate(texts) if not text]
        self.spaces = [index for index, text in enumerate(texts) if text == " "]
        self.around = self._nothing + self.spaces
        self._tokens = [(index, text) for index, text in enumerate(texts) if text.strip()]
        self._marked = any(text.startswith(" ") for _, text in self._tokens)  # tokens say whether they begin a word

    def align(self, word: str, posteriors: np.ndarray) -> tuple[np.ndarray, list[slice]] | None:
        """The best path through ``posteriors`` (logarithms, ``(frames, classes)``) that writes only ``word``.

        Returns the class of each frame and the frames of each token; None if the frames are too few. Viterbi's
        algorithm: a state is a token at its place in the word, or a pause behind so many letters.
        """
        arcs = self._arcs(word)
        pauses = len(arcs)  # state of the pause before the first letter
        states = pauses + len(word) + 1
        before: list[list[int]] = [[n] for n in range(states)]
        for n, (start, _, index) in enumerate(arcs):
            before[n] += [pauses + start, *(m for m, (_, e, other) in enumerate(arcs) if e == start and other != index)]
        for n, (_, end, _) in enumerate(arcs):
            before[pauses + end].append(n)
        classes = np.array([index for _, _, index in arcs], dtype=int)
        scores = np.full(states, -np.inf)
        came: list[np.ndarray] = []
        quiet = self._best(posteriors, self._nothing), self._best(posteriors, self.around)
        for t, frame in enumerate(posteriors):
            emitted = np.concatenate([frame[classes], np.full(len(word) + 1, quiet[0][0][t])])
            emitted[[pauses, -1]] = quiet[1][0][t]
            if t == 0:
                last = np.arange(states)
                first = [pauses, *(n for n, (start, _, _) in enumerate(arcs) if start == 0)]
                reached = np.full(states, -np.inf)
                reached[first] = 0.0
            else:
                last = np.array([max(choices, key=scores.__getitem__) for choices in before])
                reached = scores[last]
            came.append(last)
            scores = reached + emitted
        ends = [states - 1, *(n for n, (_, end, _) in enumerate(arcs) if end == len(word))]
        state = max(ends, key=scores.__getitem__)
        if not np.isfinite(scores[state]):
            return None
        visited = []
        for last in reversed(came):
            visited.append(state)
            state = int(last[state])
        return self._path(visited[::-1], classes, quiet, pauses, states - 1)

    def _arcs(self, word: str) -> list[tuple[int, int, int]]:
        """Each token at each place of ``word`` that it can write: first letter, letter behind the last one, class."""
        return [
            (start, start + len(text.strip()), index)
            for index, text in self._tokens
            for start in range(len(word))
            if word.startswith(text.strip(), start) and (not self._marked or text.startswith(" ") == (start == 0))
        ]

    def _best(self, posteriors: np.ndarray, classes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """The best of some classes in each frame: its logarithm, and the class."""
        chosen = np.array(classes)[posteriors[:, classes].argmax(axis=1)]
        return posteriors[np.arange(len(posteriors)), chosen], chosen

    def _path(
        self,
        visited: list[int],
        classes: np.ndarray,
        quiet: tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
        pauses: int,
        behind: int,
    ) -> tuple[np.ndarray, list[slice]]:
        """Classes by frame and the frames of each token, from the state of each frame."""
        path = np.zeros(len(visited), dtype=int)
        tokens: list[slice] = []
        for t, state in enumerate(visited):
            if state >= pauses:
                path[t] = quiet[state in (pauses, behind)][1][t]
                continue
            path[t] = classes[state]
            if t and visited[t - 1] == state:
                tokens[-1] = slice(tokens[-1].start, t + 1)
            else:
                tokens.append(slice(t, t + 1))
        return path, tokens
