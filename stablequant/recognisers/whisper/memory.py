"""Memory for Whisper's hidden values. Every utterance is padded to a whole window, so lengths do not matter."""

import math
from collections.abc import Sequence

import numpy as np

from stablequant.corpora.utterance import Batch, Utterance
from stablequant.recognisers.sizes import FLOAT_BYTES
from stablequant.recognisers.whisper.layers import ModelConfig


def window_bytes(config: ModelConfig) -> float:
    """Bytes for the hidden values of one window in the layer that needs most, with attention scores."""
    frames = config["max_source_positions"]
    inner = 2 * config["d_model"] + config["encoder_ffn_dim"]
    scores = config["encoder_attention_heads"] * frames
    crossed = 2 * config["decoder_layers"] * config["d_model"]
    return float(FLOAT_BYTES * frames * max(inner, scores + config["d_model"], crossed))


def make_batches(
    utterances: Sequence[Utterance], config: ModelConfig, budget: float, seed: int | None, most: float = math.inf
) -> list[Batch]:
    """Batches whose hidden values take at most ``budget`` bytes, of at most ``most`` utterances.

    They are in the order of ``utterances``, or in a random order with ``seed``.
    """
    rows = int(max(1, min(most, budget // window_bytes(config))))
    order = np.arange(len(utterances)) if seed is None else np.random.default_rng(seed).permutation(len(utterances))
    ordered = [utterances[i] for i in order]
    return [ordered[first : first + rows] for first in range(0, len(ordered), rows)]
