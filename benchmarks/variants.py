"""The recognisers of the benchmarks: the demo's two, and variants that compute the same but are harder to quantize."""

import copy
from pathlib import Path

import torch
from project import PROJECT

from stablequant.recognisers.ctc.huggingface import read_huggingface, waveform_front_end
from stablequant.recognisers.registry import family_of

DEAD = 8  # channels added
SPIKE = 256.0  # a power of two, by which multiplying and dividing is exact


def dead_channels(model: torch.nn.Module) -> torch.nn.Module:
    """A copy whose every feed-forward block has `DEAD` more hidden channels, which spike and which nothing reads."""
    changed = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(0)
    changed.config.intermediate_size += DEAD
    for layer in changed.base_model.encoder.layers:
        first, second = layer.feed_forward.intermediate_dense, layer.feed_forward.output_dense
        spiking = torch.randn(DEAD, first.in_features, generator=draw) * first.weight.data.std() * SPIKE
        first.weight.data = torch.cat([first.weight.data, spiking])
        first.bias.data = torch.cat([first.bias.data, torch.zeros(DEAD)])
        second.weight.data = torch.cat([second.weight.data, torch.zeros(second.out_features, DEAD)], dim=1)
        first.out_features = second.in_features = changed.config.intermediate_size
    return changed


def massive_attention_inputs(model: torch.nn.Module) -> torch.nn.Module:
    """A copy in which one channel of what an attention block reads or passes on is `SPIKE` times larger.

    Where a norm stands right before the block (pre-norm), that channel leaves it larger and is read by weights as much
    smaller. Elsewhere the values of the first head's first channel are, and the output's weights are smaller.
    """
    changed = copy.deepcopy(model)
    for layer in changed.base_model.encoder.layers:
        attention = layer.attention
        if model.config.do_stable_layer_norm:
            producers, readers = [layer.layer_norm], [attention.q_proj, attention.k_proj, attention.v_proj]
        else:
            producers, readers = [attention.v_proj], [attention.out_proj]
        for producer in producers:
            producer.weight.data[0] *= SPIKE
            producer.bias.data[0] *= SPIKE
        for reader in readers:
            reader.weight.data[:, 0] /= SPIKE
    return changed


VARIANTS = {"demo-dead-channels": dead_channels, "demo-massive-attention": massive_attention_inputs}
RECOGNISERS = ["demo", *VARIANTS, "large"]


def checkpoint_of(name: str) -> Path:
    """The folder of one of `RECOGNISERS`; a variant that is there is left, so that what was made of it stays valid."""
    source = PROJECT / "resources/demo" / ("large" if name == "large" else "model")
    if name not in VARIANTS:
        return source
    folder = PROJECT / "results/peers" / name
    if not (folder / "model.safetensors").is_file():
        VARIANTS[name](read_huggingface(source, waveform_front_end)[0]).save_pretrained(
            folder
        )  # its weight norm not folded
        for file in family_of(source).files(source):
            if file != "config.json" and (source / file).is_file():
                (folder / file).write_bytes((source / file).read_bytes())
    return folder
