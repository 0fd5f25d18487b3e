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
USAGE = """`{graph}` takes `input_values`, float32 `(batch, samples)`: recordings of one length at {rate} Hz,
{prepared}. It gives `logits`, float32 `(batch, frames, classes)`. A program takes
the best class of each frame, merges repetitions, and leaves out class {blank}, the blank. `vocab.json` names the
classes. The graph's metadata says the same.

```python
from optimum.intel import OVModelForCTC  # or optimum.onnxruntime.ORTModelForCTC
from transformers import AutoProcessor, pipeline

processor = AutoProcessor.from_pretrained("BUNDLE")
model = OVModelForCTC.from_pretrained("BUNDLE")
model.main_input_name = "input_values"  # some versions of optimum lack it
recogniser = pipeline(
    "automatic-speech-recognition",
    model=model,
    tokenizer=processor.tokenizer,
    feature_extractor=processor.feature_extractor,
)
print(recogniser("recording.flac", return_timestamps="word"))
```

```js
import {{ pipeline }} from "@huggingface/transformers";
const recogniser = await pipeline("automatic-speech-recognition", "BUNDLE", {{ dtype: "q8" }});
```

```python
import sherpa_onnx  # it normalises recordings itself
recogniser = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc("BUNDLE/{graph}", "BUNDLE/tokens.txt")
```

transformers.js needs `tokenizer.json` and sherpa-onnx `tokens.txt`. They are absent if these programs cannot write the
vocabulary's words, and sherpa-onnx normalises all recordings, so it suits models that take normalised audio. On Intel
CPUs with AMX, OpenVINO (2026.4.1) computes some grouped convolutions wrongly if `INFERENCE_PRECISION_HINT` is set to
`f32`. If you need that, set `ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16` in the environment."""


class Wav2Vec2Family:
    """See `stablequant.recognisers.family.Family`."""

    name = "wav2vec2"
    kinds = tuple(ENCODER_OF)
    heads = ("ForCTC",)

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

    def front_end(self, folder: Path) -> FrontEnd:
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

    def published(self, folder: Path) -> Mapping[str, str]:
        """Where optimum, transformers.js and sherpa-onnx look for the graph, the network and the tokens."""
        from stablequant.recognisers.ctc.publishing import published

        return published(folder)

    def usage(self, folder: Path) -> str:
        """The inputs and outputs of the graph, in Markdown."""
        from stablequant.recognisers.ctc.publishing import ONNX

        front_end = read_front_end(folder)
        normalised = f"each brought to zero mean and unit variance ({front_end.epsilon:g} added to the variance)"
        return USAGE.format(
            graph=ONNX,
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
