"""Export Whisper as three ONNX graphs, with the names that optimum gives them."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from transformers import WhisperForConditionalGeneration

from stablequant.recognisers.device import compute_exactly
from stablequant.recognisers.family import Signature
from stablequant.recognisers.whisper.front_end import FrontEnd, read_front_end
from stablequant.recognisers.whisper.greedy import DECODER, ENCODER, WITH_PAST, signatures
from stablequant.recognisers.whisper.layers import ModelConfig, quantized_modules, read_sizes
from stablequant.recognisers.whisper.loading import load_model
from stablequant.recognisers.whisper.network import Pair, decode, encoded_pairs
from stablequant.storage.onnx_graph import OPSET, name_nodes, strip_metadata

FIXED = ("bins", "frames", "positions", "width", "heads", "head_size")  # axes of one size
EXAMPLE = {"batch": 2, "tokens": 4, "step": 3, "past": 5}  # sizes of the others while exporting


class _Encoder(torch.nn.Module):
    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        parts: Any = self.model.model
        found: torch.Tensor = parts.encoder(features).last_hidden_state
        return found


class _Decoder(torch.nn.Module):
    """The first step: the prompt, and the keys and values of the encoder's output."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, encoded: torch.Tensor) -> list[torch.Tensor]:
        crossed = encoded_pairs(self.model, encoded)
        logits, pairs = decode(self.model, tokens, [], crossed)
        return [logits, *(t for own, other in zip(pairs, crossed, strict=True) for t in (*own, *other))]


class _WithPast(torch.nn.Module):
    """Each further step: one token or more, and the keys and values so far."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, past: list[torch.Tensor]) -> list[torch.Tensor]:
        own: list[Pair] = list(zip(past[0::4], past[1::4], strict=True))
        crossed: list[Pair] = list(zip(past[2::4], past[3::4], strict=True))
        logits, pairs = decode(self.model, tokens, own, crossed)
        return [logits, *(tensor for pair in pairs for tensor in pair)]


def graph_modules(model: WhisperForConditionalGeneration) -> dict[str, torch.nn.Module]:
    """The network of each graph by name, in torch."""
    return {ENCODER: _Encoder(model), DECODER: _Decoder(model), WITH_PAST: _WithPast(model)}


def export(folder: Path, threads: int = 1) -> dict[str, ir.Model]:
    """The graphs of the checkpoint in ``folder`` by name."""
    compute_exactly(threads)
    config = read_sizes(folder)
    model = load_model(folder, "eager")
    model.proj_out.weight = torch.nn.Parameter(model.proj_out.weight.detach().clone())  # so that it becomes a constant
    wanted = signatures(config)
    modules = {m.module for m in quantized_modules(config)}
    inside = {
        ENCODER: {name for name in modules if name.startswith("model.encoder.")},
        DECODER: {name for name in modules if not name.startswith("model.encoder.")},
    }
    inside[WITH_PAST] = {n for n in inside[DECODER] if not n.endswith(("encoder_attn.k_proj", "encoder_attn.v_proj"))}
    described = _description(read_front_end(folder))
    graphs = {}
    for name, part in graph_modules(model).items():
        graphs[name] = _export(part, wanted[name], config)
        name_nodes(graphs[name], inside[name])
        strip_metadata(graphs[name])
        graphs[name].metadata_props.update(described)
    return graphs


def _description(front_end: FrontEnd) -> dict[str, str]:
    """What a program needs beside the graphs, for their metadata: features, and the tokens around a text."""
    return {
        "window_samples": str(front_end.window),
        "mel_bins": str(front_end.bins),
        "n_fft": str(front_end.fft),
        "hop_length": str(front_end.hop),
        "language": front_end.language,
        "prompt": json.dumps(list(front_end.prompt)),
        "end": str(front_end.end),
    }


def _export(part: torch.nn.Module, signature: Signature, config: ModelConfig) -> ir.Model:
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sizes = {**signature.warm_up, **{axis: size for axis, size in EXAMPLE.items() if axis in signature.warm_up}}
    dynamic = {axis: torch.export.Dim(axis, max=_largest(axis, config)) for axis in sizes if axis not in FIXED}
    tensors, shapes = [], []
    for tensor in signature.inputs.values():
        shape = [sizes[axis] for axis in tensor.axes]
        tensors.append(torch.zeros(shape, dtype=torch.int64) if tensor.dtype == "int64" else torch.randn(shape))
        shapes.append({i: dynamic[axis] for i, axis in enumerate(tensor.axes) if axis in dynamic})
    given: tuple[Any, ...] = tuple(tensors)
    said: tuple[Any, ...] = tuple(shapes)
    if isinstance(part, _WithPast):
        given, said = (tensors[0], tensors[1:]), (shapes[0], shapes[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            part,
            given,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamic_shapes=said,
        )
    if program is None:
        raise RuntimeError("torch exported nothing")
    return program.model


def _largest(axis: str, config: ModelConfig) -> int | None:
    return config["max_target_positions"] - 1 if axis in ("tokens", "step", "past") else None
