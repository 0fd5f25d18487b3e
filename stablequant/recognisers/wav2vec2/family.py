"""The family of wav2vec 2.0: CTC recognisers with wav2vec 2.0, HuBERT, WavLM, data2vec, the conformer or UniSpeech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stablequant.errors import StableQuantError
from stablequant.recognisers.wav2vec2.layers import ENCODER_OF

if TYPE_CHECKING:
    from stablequant.recognisers.ctc.decoding import CtcDecoder
    from stablequant.recognisers.ctc.front_end import FrontEnd
    from stablequant.recognisers.family import Limits, Network, Signature

FILES = ("config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json")
USAGE = """Without StableQuant: `model.onnx` takes `input_values`, float32 `(batch, samples)`, recordings of one
length at {rate} Hz, {prepared}. It gives `logits`, float32
`(batch, frames, classes)`: the best class of each frame, repetitions merged and class {blank}, the blank, left out, by
the names in `vocab.json`. In OpenVINO (2026.4.1) let it hear a second of silence first: where the very first audio is
a single frame, all that follows comes out wrong."""


class Wav2Vec2Family:
    """See `stablequant.recognisers.family.Family`."""

    name = "wav2vec2"
    kinds = tuple(ENCODER_OF)

    def claims(self, config: Mapping[str, object]) -> bool:
        """Whether ``model_type`` is one of `kinds`."""
        return config.get("model_type") in self.kinds

    def claims_file(self, path: Path) -> bool:
        """Whether ``path`` is a file: checkpoints in a single file are fairseq's."""
        return path.is_file()

    def files(self, folder: Path) -> Sequence[str]:
        """The files of the front end."""
        return FILES

    def sample_rate(self, folder: Path) -> int:
        """Sample rate in Hz, from the settings of the preprocessor."""
        from stablequant.recognisers.ctc.front_end import read_sample_rate

        return read_sample_rate(folder)

    def writing(self, folder: Path) -> FrontEnd:
        """The front end."""
        return read_front_end(folder)

    def signatures(self, folder: Path) -> Mapping[str, Signature]:
        """The signature of the single graph."""
        from stablequant.recognisers.ctc.decoding import GRAPH, SIGNATURE

        return {GRAPH: SIGNATURE}

    def limits(self, folder: Path, samples: Sequence[int], longest: int) -> Mapping[str, Limits]:
        """Limits of the axis ``samples``, see `stablequant.recognisers.ctc.decoding.limits_of`."""
        from stablequant.recognisers.ctc.decoding import limits_of

        return limits_of(samples, read_front_end(folder).shortest_samples, longest)

    def decoder(self, folder: Path, networks: Mapping[str, Network]) -> CtcDecoder:
        """A decoder that takes the best path."""
        from stablequant.recognisers.ctc.decoding import GRAPH, CtcDecoder
        from stablequant.recognisers.wav2vec2.memory import read_footprint

        front_end, memory = read_front_end(folder), read_footprint(folder / "config.json")
        if memory.hop > front_end.sample_rate:  # no chunk would be long enough
            raise StableQuantError(folder / "config.json", "a frame lasts longer than a second", "restore the file")
        return CtcDecoder(front_end, memory, networks[GRAPH])

    def usage(self, folder: Path) -> str:
        """The inputs and outputs of the graph, in Markdown."""
        front_end = read_front_end(folder)
        normalised = f"each brought to zero mean and unit variance ({front_end.epsilon:g} added to the variance)"
        return USAGE.format(
            rate=front_end.sample_rate,
            prepared=normalised if front_end.do_normalize else "between -1 and 1",
            blank=front_end.vocabulary.blank,
        )


def read_front_end(folder: Path) -> FrontEnd:
    """The front end of a checkpoint or an engine in ``folder``, with the shortest audio that its convolutions take.

    Raises `StableQuantError` if a file is missing or damaged.
    """
    from stablequant.recognisers.ctc import front_end
    from stablequant.recognisers.wav2vec2.memory import read_shortest_samples

    return replace(front_end.read_front_end(folder), shortest_samples=read_shortest_samples(folder / "config.json"))


FAMILY = Wav2Vec2Family()
