"""OpenVINO on the CPU."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from stablequant.engines.folder import check_recogniser
from stablequant.engines.openvino_attention import keys_as_they_are
from stablequant.engines.openvino_channels_last import channels_last
from stablequant.engines.precision import BFLOAT16, FLOAT32, INT8
from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.decoding import Infer
from stablequant.recognisers.wav2vec2.layers import QuantizedModule

RUNS = {"i8": INT8, "u8": INT8, "f32": FLOAT32, "bf16": BFLOAT16, "f16": "float16"}  # OpenVINO's names
NETWORK = "model.xml"
# What an engine hears first. Where that is a single frame, OpenVINO recognises all that follows wrongly (2026.4.1): it
# keeps attention's softmax as it made it, for scores of one frame.
FIRST_SAMPLES = 16_000
PRODUCTS = ("Convolution", "FullyConnected", "MatMul")


def version() -> str:
    return ov.get_version()


def build(onnx: Path, folder: Path) -> None:
    """Convert ``onnx`` to ``folder/model.xml`` and ``model.bin``; INT8 weights stay INT8."""
    model = ov.Core().read_model(onnx)
    channels_last(model)
    keys_as_they_are(model)
    try:
        ov.save_model(model, folder / NETWORK, compress_to_fp16=False)
    except RuntimeError as error:  # it does not say why
        raise StableQuantError(
            folder, f"the network cannot be written ({error})", "see whether the disk is full, and run again"
        ) from error


def load(folder: Path, threads: int, floating: str = FLOAT32) -> tuple[Infer, str]:
    """The engine as a function of a batch of audio, and the arithmetic that it runs in on this CPU.

    ``floating`` is asked of what is not quantized, see `compile_network`.
    """
    model = _read(folder)
    tensors = (*model.inputs, *model.outputs)
    ranks = [tensor.partial_shape.rank for tensor in tensors]
    axes = [None if rank.is_dynamic else rank.get_length() for rank in ranks]
    check_recogniser([(t.get_names(), n) for t, n in zip(tensors, axes, strict=True)], folder / NETWORK)
    compiled, arithmetic = compile_network(model, threads, floating)
    compiled([np.zeros((1, FIRST_SAMPLES), dtype=np.float32)])

    def infer(audio: np.ndarray) -> np.ndarray:
        return compiled([audio])[0]

    return infer, arithmetic


def _read(folder: Path) -> ov.Model:
    network = folder / NETWORK
    try:
        return ov.Core().read_model(network)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise StableQuantError(network, f"damaged, or not OpenVINO's ({reason})", "build the engine again") from error


def compile_network(model: ov.Model, threads: int, floating: str = FLOAT32) -> tuple[ov.CompiledModel, str]:
    """``model`` for this CPU, and the arithmetic that its quantized layers run in.

    With ``floating`` bfloat16, what stands between INT8 layers (attention's products, norms, sums) runs in that if the
    CPU has it; the arithmetic then names both. Where the CPU's INT8 kernels saturate (see `int8_kernels_are_exact`) the
    quantized graph is run in floating point, which is exact but slower than fp32; ``model`` is changed for that.
    """
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    arithmetic = INT8 if any(op.get_type_name() == "FakeQuantize" for op in model.get_ops()) else FLOAT32
    if arithmetic == INT8 and not int8_kernels_are_exact():
        logging.warning("this CPU has no VNNI and its INT8 kernels saturate; the engine runs in float32 instead")
        settings["LP_TRANSFORMS_MODE"] = "NO"
        spell_quantizers_out(model)
        arithmetic = FLOAT32
    if arithmetic == INT8 and floating == BFLOAT16 and has_bfloat16():
        settings["INFERENCE_PRECISION_HINT"] = "bf16"
        arithmetic = f"{INT8} and {BFLOAT16}"
    return ov.compile_model(model, "CPU", settings), arithmetic


def precisions(folder: Path, modules: Sequence[QuantizedModule], floating: str = FLOAT32) -> dict[str, str]:
    """The precision that each of ``modules`` runs in on this CPU, by its name: that of the compiled network's kernel.
    ``floating`` is as in `load`.

    (The network's own ``runtimePrecision`` says ``i8`` of a floating-point product whose weights are stored so.)
    """
    model = _read(folder)
    wanted = {m.module for m in modules}
    carried = {name: name for name in wanted}  # a product's name, or that of the addition it may be fused with
    for node in model.get_ops():
        if node.get_friendly_name() in wanted:
            for reader in node.output(0).get_target_inputs():
                carried[reader.get_node().get_friendly_name()] = node.get_friendly_name()
    compiled, _ = compile_network(model, threads=1, floating=floating)
    runs: dict[str, str] = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        known = node.get_rt_info()
        if known["layerType"].astype(str) in PRODUCTS:
            precision = known["primitiveType"].astype(str).rpartition("_")[2].lower()  # of brgconv_avx2_f32
            for name in known["originalLayersNames"].astype(str).split(","):
                if name.split("/")[0] in carried:
                    runs.setdefault(carried[name.split("/")[0]], RUNS.get(precision, precision))
    return runs


def spell_quantizers_out(model: ov.Model) -> None:
    """Replace every FakeQuantize behind a factor per channel by the arithmetic that defines it.

    OpenVINO drops such a factor where a transposition stands before it, unless the quantizer is made INT8 (seen in
    2026.4.1).
    """
    for quantizer in [op for op in model.get_ordered_ops() if op.get_type_name() == "FakeQuantize"]:
        if not _multiplied(quantizer.input_value(0).get_node()):
            continue
        values, low, high, low_out, high_out = (source.get_source_output() for source in quantizer.inputs())
        steps = np.float32(quantizer.get_attributes()["levels"] - 1)
        clamped = ops.minimum(ops.maximum(values, low), high)
        level = ops.round(ops.multiply(ops.subtract(clamped, low), ops.divide(steps, ops.subtract(high, low))))
        step_out = ops.divide(ops.subtract(high_out, low_out), steps)
        quantizer.output(0).replace(ops.add(ops.multiply(level, step_out), low_out).output(0))


def _multiplied(node: ov.Node) -> bool:
    """Whether ``node`` is a product, with or without a subtraction behind it."""
    if node.get_type_name() == "Subtract":
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Multiply"


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def int8_kernels_are_exact() -> bool:
    """Whether a product of the largest INT8 numbers comes out right on this CPU.

    Without VNNI, x86 CPUs add pairs of products in 16 bits, which large weights and activations overflow silently.
    """
    size = 64
    level = np.float32(1 / 127)
    audio = ops.parameter([1, size], ov.Type.f32)
    bounds = [np.float32(-128) * level, np.float32(1)]
    quantized = ops.fake_quantize(audio, *bounds, *bounds, 256)
    integers = ops.convert(ops.constant(np.full((size, size), 127, dtype=np.int8)), ov.Type.f32)
    weight = ops.multiply(integers, ops.constant(np.full((size, 1), level)))
    product = ops.matmul(quantized, weight, False, True)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.compile_model(ov.Model([product], [audio], "largest"), "CPU", settings)
    return bool(np.allclose(compiled([np.ones((1, size), dtype=np.float32)])[0], size, rtol=0.01))
