"""Its two graphs."""

import warnings
from pathlib import Path

import onnx_ir as ir
import torch
from stablequant.recognisers.tiny_seq2seq.front_end import BANDS
from stablequant.recognisers.tiny_seq2seq.greedy import SIGNATURES
from stablequant.recognisers.tiny_seq2seq.model import WIDTH, modules_of, read_model

from stablequant.storage.onnx_graph import name_nodes, strip_metadata


class Part(torch.nn.Module):
    """One of the model's halves under its own name, so that modules' paths are those of the whole model."""

    def __init__(self, name: str, half: torch.nn.Module) -> None:
        super().__init__()
        self.add_module(name, half)
        self._half = name

    def forward(self, *tensors: torch.Tensor) -> object:
        return self.get_submodule(self._half)(*tensors)


def export(folder: Path, threads: int = 1) -> dict[str, ir.Model]:
    model = read_model(folder)
    batch, frames, tokens = (torch.export.Dim(name) for name in ("batch", "frames", "tokens"))
    examples = {
        "encoder": ((torch.randn(2, 50, BANDS),), ({0: batch, 1: frames},)),
        "decoder": (
            (torch.zeros(2, 3, dtype=torch.int64), torch.randn(2, 50, WIDTH), torch.randn(2, 1)),
            ({0: batch, 1: tokens}, {0: batch, 1: frames}, {0: batch}),
        ),
    }
    graphs = {}
    for name, (given, sizes) in examples.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                Part(name, model.get_submodule(name)),
                given,
                dynamo=True,
                verbose=False,
                input_names=list(SIGNATURES[name].inputs),
                output_names=list(SIGNATURES[name].outputs),
                dynamic_shapes=(sizes,),
            )
        assert program is not None
        name_nodes(program.model, {m.module for m in modules_of() if m.module.startswith(f"{name}.")})
        strip_metadata(program.model)
        graphs[name] = program.model
    return graphs
