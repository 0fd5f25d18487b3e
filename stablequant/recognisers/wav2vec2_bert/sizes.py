"""What follows from ``config.json``: lengths, memory, the shortest audio, and whether padding is allowed."""

import math
from pathlib import Path
from typing import NamedTuple

from stablequant.errors import StableQuantError
from stablequant.recognisers.entries import reading_config
from stablequant.recognisers.sizes import FLOAT_BYTES, Footprint
from stablequant.recognisers.wav2vec2_bert.filter_bank import HOP, WINDOW
from stablequant.recognisers.wav2vec2_bert.front_end import FilterBank, read_filter_bank
from stablequant.recognisers.wav2vec2_bert.layers import ModelConfig, adapter_layers
from stablequant.storage.files import read_json

COPIES = 4  # copies of a layer's output in memory: its input and output, and those of a norm and an activation
MOST_STACKS = 1000  # beyond, no published convolution of an adapter would reach


class Recognising(NamedTuple):
    """What an engine needs to know about a checkpoint, beside its networks.

    Attributes
    ----------
    front_end: turns audio into features
    memory: memory for hidden values; its ``hop`` is the number of samples per frame of the output
    """

    front_end: FilterBank
    memory: Footprint


def frames_by_stage(config: ModelConfig, stacks: int) -> list[int]:
    """Number of frames in the encoder, and after each adapter layer, of an utterance of ``stacks``.

    They follow from the convolutions' own sizes, ``padding=stride // 2`` in transformers.
    """
    found = [stacks]
    for _ in range(adapter_layers(config)):
        padded = found[-1] + 2 * (config["adapter_stride"] // 2)
        found.append((padded - config["adapter_kernel_size"]) // config["adapter_stride"] + 1)
    return found


def tolerates_padding(config: ModelConfig) -> bool:
    """Whether short utterances can be padded to the length of longer ones without a change of their output.

    The encoder's convolutions are causal and its attention is masked, so it does. The convolutions of an adapter read
    the first padded frame, which transformers does not mask there.
    """
    return adapter_layers(config) == 0


def footprint(config: ModelConfig, stack: int) -> Footprint:
    """Estimate of the memory for hidden values, which are float32. ``stack`` is the number of samples per stack.

    The scores of the attention are stored, with the bias of the positions and its index.
    """
    wider = max(config["hidden_size"], config["output_hidden_size"]) if config["add_adapter"] else config["hidden_size"]
    per_stack = COPIES * wider + 2 * max(3 * wider, config["intermediate_size"])
    slower: int = config["adapter_stride"] ** adapter_layers(config)
    per_pair = FLOAT_BYTES * COPIES * config["num_attention_heads"] * slower**2
    return Footprint(FLOAT_BYTES * per_stack / stack, per_pair, stack * slower)


def shortest_samples(config: ModelConfig, stride: int) -> int:
    """Length in samples of the shortest audio that gives a frame.

    A mel bin's variance takes two frames, and an adapter's convolutions may take several stacks.
    """
    stacks = next((n for n in range(1, MOST_STACKS) if min(frames_by_stage(config, n)) >= 1), MOST_STACKS)
    return WINDOW + (stride * stacks - 1) * HOP


def read_recognising(folder: Path) -> Recognising:
    """Read what an engine needs; raise `StableQuantError` if a file is missing or damaged."""
    file = folder / "config.json"
    front_end = read_filter_bank(folder, 0)
    with reading_config(file):
        config: ModelConfig = read_json(file)
        found = footprint(config, front_end.hop)
        shortest = shortest_samples(config, front_end.stride)
        width = config["feature_projection_input_dim"]
    whole = isinstance(found.hop, int) and found.hop > 0 and width == front_end.width
    if not (whole and 0 < found.per_sample < math.inf and 0 < found.per_pair < math.inf):
        raise StableQuantError(file, "not a recogniser's sizes", "restore the file")
    if found.hop > front_end.sample_rate:  # no chunk would be long enough
        raise StableQuantError(file, "a frame lasts longer than a second", "restore the file")
    return Recognising(read_filter_bank(folder, shortest), found)
