"""What follows from a checkpoint's ``config.json``: memory, the shortest audio, and whether padding is allowed."""

import math
from itertools import accumulate
from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.recognisers.entries import reading_config
from stablequant.recognisers.sizes import FLOAT_BYTES, Footprint
from stablequant.recognisers.wav2vec2.layers import ModelConfig
from stablequant.storage.files import read_json

COPIES = 4  # copies of a convolution's output in memory: the output, input and output of its norm, the activation
LONGEST_FRAME = 10**6  # most samples that the first frame may take; in published recognisers it takes 400
PADDABLE = ("hubert", "wav2vec2", "wavlm", "unispeech", "unispeech-sat")


def tolerates_padding(config: ModelConfig) -> bool:
    """Whether short utterances can be padded to the length of longer ones without a change of their output.

    They cannot if padding influences the frames of the audio. It does through a group norm over time, a batch norm
    before the positional convolution, data2vec's stack of positional convolutions, and a conformer's depthwise
    convolutions.
    """
    layer_norm = config["model_type"] in PADDABLE and config["feat_extract_norm"] == "layer"
    return layer_norm and not config.get("conv_pos_batch_norm", False)


def footprint(config: ModelConfig) -> Footprint:
    """Estimate of the memory for hidden values, which are float32."""
    hops = list(accumulate(config["conv_stride"], lambda a, b: a * b))
    convolutions = max(COPIES * width / hop for width, hop in zip(config["conv_dim"], hops, strict=True))
    widest = max(3 * config["hidden_size"], config["intermediate_size"])
    scores = config["num_attention_heads"] if config["model_type"] in ("wavlm", "wav2vec2-conformer") else 0
    per_sample = max(convolutions, (COPIES * config["hidden_size"] + 2 * widest) / hops[-1])
    return Footprint(FLOAT_BYTES * per_sample, FLOAT_BYTES * COPIES * scores, hops[-1])


def shortest_samples(config: ModelConfig) -> int:
    """Length in samples of the shortest audio that gives a frame: the receptive field of the convolutions."""
    needed = 1
    for kernel, stride in zip(reversed(config["conv_kernel"]), reversed(config["conv_stride"]), strict=True):
        needed = (needed - 1) * stride + kernel
    return needed


def read_shortest_samples(config: Path) -> int:
    """`shortest_samples` for the file ``config``; raise `StableQuantError` if it is damaged."""
    with reading_config(config):
        found = shortest_samples(read_json(config))
    if not (isinstance(found, int) and 0 < found <= LONGEST_FRAME):
        raise StableQuantError(config, "not a recogniser's sizes", "restore the file")
    return found


def read_footprint(config: Path) -> Footprint:
    """`footprint` for the file ``config``; raise `StableQuantError` if it is damaged or not a recogniser's."""
    with reading_config(config):
        found = footprint(read_json(config))
    whole = isinstance(found.hop, int) and found.hop > 0
    if not (whole and 0 < found.per_sample < math.inf and 0 <= found.per_pair < math.inf):
        raise StableQuantError(config, "not a recogniser's sizes", "restore the file")
    return found
