"""The family of Whisper: checkpoints of OpenAI's Whisper and their fine-tunes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stablequant.recognisers.family import Limits, Network, Signature
    from stablequant.recognisers.whisper.front_end import FrontEnd
    from stablequant.recognisers.whisper.greedy import GreedyDecoder

USAGE = """This folder opens as it is in optimum and, with the engine `openvino`, in OpenVINO GenAI:

```python
openvino_genai.WhisperPipeline("BUNDLE", "CPU").generate(samples)
optimum.intel.OVModelForSpeechSeq2Seq.from_pretrained("BUNDLE")
optimum.onnxruntime.ORTModelForSpeechSeq2Seq.from_pretrained("BUNDLE")
```

`encoder_model.onnx` takes `input_features`, Whisper's log-mel features of a window of 30 s, float32
`(batch, {bins}, {frames})`. `decoder_model.onnx` takes the prompt {prompt} as `input_ids` and the encoder's output.
Each further token enters `decoder_with_past_model.onnx` with the keys and values so far."""


class WhisperFamily:
    """See `stablequant.recognisers.family.Family`."""

    name = "whisper"
    kinds = ("whisper",)
    heads = ("WhisperForConditionalGeneration",)

    def claims(self, config: Mapping[str, object]) -> bool:
        """Whether ``model_type`` is Whisper's."""
        return config.get("model_type") == "whisper"

    def claims_file(self, path: Path) -> bool:
        """False: checkpoints are folders."""
        return False

    def files(self, folder: Path) -> Sequence[str]:
        """The files of the front end; the table of spellings only if the checkpoint has it."""
        from stablequant.recognisers.whisper.front_end import FILES

        return [name for name in FILES if (folder / name).is_file()]

    def sample_rate(self, folder: Path) -> int:
        """Sample rate in Hz, from the settings of the preprocessor."""
        return self.front_end(folder).sample_rate

    def front_end(self, folder: Path) -> FrontEnd:
        """The front end."""
        from stablequant.recognisers.whisper.front_end import read_front_end

        return read_front_end(folder)

    def signatures(self, folder: Path) -> Mapping[str, Signature]:
        """Signatures of the encoder, of the decoder's first step and of its further steps."""
        from stablequant.recognisers.whisper.greedy import signatures
        from stablequant.recognisers.whisper.layers import read_sizes

        return signatures(read_sizes(folder))

    def limits(self, folder: Path, samples: Sequence[int], longest: int) -> Mapping[str, Limits]:
        """Sizes of all axes, which do not depend on the audio."""
        from stablequant.recognisers.whisper.greedy import limits_of
        from stablequant.recognisers.whisper.layers import read_sizes

        return limits_of(read_sizes(folder))

    def decoder(self, folder: Path, networks: Mapping[str, Network]) -> GreedyDecoder:
        """Greedy decoding."""
        from stablequant.recognisers.whisper.greedy import GreedyDecoder
        from stablequant.recognisers.whisper.layers import read_sizes

        return GreedyDecoder(self.front_end(folder), read_sizes(folder), networks)

    def published(self, folder: Path) -> Mapping[str, str]:
        """The names of optimum, and of OpenVINO GenAI."""
        from stablequant.recognisers.whisper.published import PUBLISHED

        return PUBLISHED

    def usage(self, folder: Path) -> str:
        """The inputs and outputs of the graphs, in Markdown."""
        from stablequant.recognisers.whisper.layers import read_sizes

        front_end, sizes = self.front_end(folder), read_sizes(folder)
        frames = 2 * sizes["max_source_positions"]
        return USAGE.format(bins=sizes["num_mel_bins"], frames=frames, prompt=list(front_end.prompt))


FAMILY = WhisperFamily()
