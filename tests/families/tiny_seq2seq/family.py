"""The light side: what is claimed, what is written, and engines of two graphs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stablequant.recognisers.tiny_seq2seq.front_end import FrontEnd
    from stablequant.recognisers.tiny_seq2seq.greedy import GreedyDecoder

    from stablequant.recognisers.family import Limits, Network, Signature

KIND = "tiny-seq2seq"


class TinySeq2Seq:
    """See `stablequant.recognisers.family.Family`."""

    name = "tiny_seq2seq"
    kinds = (KIND,)
    heads = ("TinySeq2Seq",)

    def claims(self, config: Mapping[str, object]) -> bool:
        return config.get("model_type") == KIND

    def claims_file(self, path: Path) -> bool:
        return False

    def files(self, folder: Path) -> Sequence[str]:
        return ("config.json", "words.json")

    def sample_rate(self, folder: Path) -> int:
        return int(json.loads((folder / "config.json").read_text())["rate"])

    def front_end(self, folder: Path) -> FrontEnd:
        from stablequant.recognisers.tiny_seq2seq.front_end import read_front_end

        return read_front_end(folder)

    def signatures(self, folder: Path) -> Mapping[str, Signature]:
        from stablequant.recognisers.tiny_seq2seq.greedy import SIGNATURES

        return SIGNATURES

    def limits(self, folder: Path, samples: Sequence[int], longest: int) -> Mapping[str, Limits]:
        from stablequant.recognisers.tiny_seq2seq.greedy import limits_of

        return limits_of(samples, longest)

    def decoder(self, folder: Path, networks: Mapping[str, Network]) -> GreedyDecoder:
        from stablequant.recognisers.tiny_seq2seq.greedy import GreedyDecoder

        return GreedyDecoder(self.front_end(folder), networks)

    def published(self, folder: Path) -> Mapping[str, str]:
        """None."""
        return {}

    def usage(self, folder: Path) -> str:
        return "`encoder.onnx` takes `features`, `decoder.onnx` what it gives and the tokens so far."


FAMILY = TinySeq2Seq()
