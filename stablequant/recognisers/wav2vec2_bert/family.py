"""The family of Wav2Vec2-BERT: CTC recognisers with a conformer over log-mel features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stablequant.recognisers.wav2vec2_bert.layers import KIND

if TYPE_CHECKING:
    from stablequant.recognisers.ctc.decoding import CtcDecoder
    from stablequant.recognisers.family import Limits, Network, Signature
    from stablequant.recognisers.wav2vec2_bert.front_end import FilterBank

FILES = ("config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json")
USAGE = """`{graph}` takes what transformers' `SeamlessM4TFeatureExtractor` makes of recordings of one length at
{rate} Hz, by the settings in `preprocessor_config.json`: `input_features`, float32 `(batch, stacks, {width})`, and
`attention_mask`, int64 `(batch, stacks)`. It gives `logits`, float32 `(batch, frames, classes)`. A program takes the
best class of each frame, merges repetitions, and leaves out class {blank}, the blank. `vocab.json` names the classes.
The graph's metadata says the same. `AutoProcessor` of transformers and `OVModelForCTC` of optimum-intel open the
folder."""


class Wav2Vec2BertFamily:
    """See `stablequant.recognisers.family.Family`."""

    name = "wav2vec2_bert"
    kinds = (KIND,)
    heads = ("ForCTC",)

    def claims(self, config: Mapping[str, object]) -> bool:
        """Whether ``model_type`` is Wav2Vec2-BERT's."""
        return config.get("model_type") == KIND

    def claims_file(self, path: Path) -> bool:
        """False: there are no checkpoints in a single file."""
        return False

    def files(self, folder: Path) -> Sequence[str]:
        """The files of the front end."""
        return FILES

    def sample_rate(self, folder: Path) -> int:
        """Sample rate in Hz, from the settings of the preprocessor."""
        from stablequant.recognisers.ctc.front_end import read_sample_rate

        return read_sample_rate(folder)

    def front_end(self, folder: Path) -> FilterBank:
        """The front end."""
        from stablequant.recognisers.wav2vec2_bert.sizes import read_recognising

        return read_recognising(folder).front_end

    def signatures(self, folder: Path) -> Mapping[str, Signature]:
        """The signature of the single graph."""
        from stablequant.recognisers.ctc.decoding import GRAPH, OUTPUT
        from stablequant.recognisers.family import Signature, Tensor
        from stablequant.recognisers.wav2vec2_bert.front_end import FEATURES, MASK

        front_end = self.front_end(folder)
        return {
            GRAPH: Signature(
                inputs={FEATURES: Tensor(("batch", "stacks", "width")), MASK: Tensor(("batch", "stacks"), "int64")},
                outputs={OUTPUT: Tensor(("batch", "frames", "classes"))},
                warm_up={"batch": 1, "stacks": front_end.stacks(front_end.sample_rate), "width": front_end.width},
            )
        }

    def limits(self, folder: Path, samples: Sequence[int], longest: int) -> Mapping[str, Limits]:
        """Limits of the axes, see `stablequant.recognisers.ctc.decoding.limits_of`."""
        from stablequant.recognisers.ctc.decoding import limits_of
        from stablequant.recognisers.family import Limits

        front_end = self.front_end(folder)
        lengths = limits_of(samples, front_end.shortest_samples, longest)["samples"]
        return {
            "stacks": Limits(*(front_end.stacks(length) for length in lengths)),
            "width": Limits(*[front_end.width] * 3),
        }

    def decoder(self, folder: Path, networks: Mapping[str, Network]) -> CtcDecoder:
        """A decoder that takes the best path."""
        from stablequant.recognisers.ctc.decoding import GRAPH, CtcDecoder
        from stablequant.recognisers.wav2vec2_bert.sizes import read_recognising

        return CtcDecoder(*read_recognising(folder), networks[GRAPH])

    def published(self, folder: Path) -> Mapping[str, str]:
        """Where optimum, transformers.js and sherpa-onnx look for the graph, the network and the tokens."""
        from stablequant.recognisers.ctc.publishing import published

        return published(folder)

    def usage(self, folder: Path) -> str:
        """The inputs and outputs of the graph, in Markdown."""
        from stablequant.recognisers.ctc.publishing import ONNX

        front_end = self.front_end(folder)
        return USAGE.format(
            graph=ONNX, rate=front_end.sample_rate, width=front_end.width, blank=front_end.vocabulary.blank
        )


FAMILY = Wav2Vec2BertFamily()
