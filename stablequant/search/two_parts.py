"""Measure how something is best quantized on two parts of the calibration audio: one is counted, the other one judges.

On the same audio, what fits it too closely would win: ranges that other audio goes beyond.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from stablequant.corpora.utterance import Batch
from stablequant.quantization.collecting import Collectors
from stablequant.quantization.int8 import Range
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.recognise_reference import Cache, Files, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.split import Split, context_of, loaded
from stablequant.search.trials import Calibration, Trial


class TwoParts:
    """A recogniser, two parts of the calibration audio, and what fp32 recognises in the second. See `two_parts`."""

    def __init__(
        self, recogniser: Recogniser, calibration: Calibration, counted: Sequence[Batch], judged: Sequence[Batch]
    ) -> None:
        self._recogniser, self._calibration = recogniser, calibration
        self._counted, self._judged = counted, judged
        self._contexts = [context_of(recogniser, batch) for batch in judged]
        self._states = [recogniser.load(batch) for batch in judged]
        self._layer = 0

    def count(self, collectors: Sequence[Collectors]) -> None:
        """Let fp32 recognise the first part while ``collectors`` count. It gets no guides: those may be padded."""
        for _, context, state in loaded(self._recogniser, self._counted, "histograms"):
            for collector in collectors:
                collector.context = context
            self._recogniser.recognise(state, 0, context)

    def enter(self, layer: str) -> None:
        """Compute the second part in fp32 up to ``layer``, which does not come before the one entered last."""
        index = self.place(layer)
        for number, context in enumerate(self._contexts):
            self._states[number] = self._recogniser.run(self._states[number], self._layer, index, context)
        self._layer = index

    def place(self, layer: str) -> int:
        """Index of the layer where passes that change ``layer`` start."""
        return min(self._recogniser.layers.index(layer), self._recogniser.resumable)

    def recognise(self, ranges: Mapping[str, Range], hopeless: Callable[[Trial], bool] | None = None) -> Trial:
        """Recognise the second part from the entered layer on, and compare it with fp32.

        The caller quantizes the model, with ``ranges``. Once the trial is ``hopeless`` it is stopped.
        """
        trial = Trial(ranges, self._calibration)
        for batch, state, context in zip(self._judged, self._states, self._contexts, strict=True):
            guides = self._calibration.reference.guides_of(batch)
            trial.add(batch, self._recogniser.recognise(state, self._layer, context, guides))
            if hopeless is not None and hopeless(trial):
                trial.stopped = True
                break
        return trial


@contextmanager
def two_parts(
    recogniser: Recogniser, split: Split, counted: Sequence[Batch], judged: Sequence[Batch]
) -> Iterator[TwoParts]:
    """Recognise the second of two parts of ``split``, see `Split.halves`; what fp32 found is kept inside the block."""
    sample = Split([u for batch in judged for u in batch], list(judged), split.sample_rate, split.seed)
    with TemporaryDirectory() as folder:
        files = Files(
            *(Path(folder) / name for name in ("summary.json", "posteriors.safetensors", "hidden_values.json"))
        )
        recognise_reference(recogniser, sample, files, Cache({}, 0))
        reference = load_reference(files.summary, files.posteriors)
        yield TwoParts(recogniser, Calibration(sample, reference, None, sample.seed), counted, judged)
