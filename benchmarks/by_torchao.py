"""torchao's quantization of exported programs (PT2E), by its quantizer for x86."""

from pathlib import Path

import torch
from subject import Subject
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

from stablequant.engines import openvino
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT, OUTPUT


class Logits(torch.nn.Module):
    """A recogniser that gives logits alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.model(audio).logits


@torch.no_grad()
def quantize(subject: Subject, folder: Path) -> float:
    """Static INT8 by the x86 quantizer's defaults, as a network of OpenVINO's."""
    audio = [torch.from_numpy(values) for values in subject.audio()]
    axes = {0: torch.export.Dim("batch", max=1024), 1: torch.export.Dim("samples", min=800, max=1_000_000)}
    example = torch.zeros(2, 32_000)
    program = torch.export.export(Logits(subject.torch_model()), (example,), dynamic_shapes=(axes,))
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(program.module(), quantizer)
    for values in audio:
        prepared(values)
    quantized = torch.export.export(convert_pt2e(prepared), (example,), dynamic_shapes=(axes,))
    torch.onnx.export(quantized, f=folder / "quantized.onnx", input_names=[INPUT], output_names=[OUTPUT])
    openvino.convert(folder / "quantized.onnx", folder / f"{GRAPH}.xml")
    return 1
