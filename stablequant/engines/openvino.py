"""OpenVINO on the CPU."""

import functools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from stablequant.engines.backend import Loaded, Request
from stablequant.engines.description import Description
from stablequant.engines.folder import network_file
from stablequant.engines.openvino_attention import KEPT_PRECISION, fold_key_transpose, fuse_growing_attention
from stablequant.engines.openvino_cache import compile_with_cache
from stablequant.engines.openvino_channels_last import channels_last
from stablequant.engines.openvino_constants import halve_constants, share_tables
from stablequant.engines.openvino_filling import filling, quantize_once
from stablequant.engines.openvino_lengths import round_lengths
from stablequant.engines.openvino_memory import further_steps, join_steps, remembering_networks, with_memory
from stablequant.engines.openvino_quantizers import decompose_before_wrong_convolutions, decompose_multiplied
from stablequant.engines.openvino_requests import Requests
from stablequant.engines.precision import BFLOAT16, FLOAT32, INT8
from stablequant.engines.tensors import check_tensors, names_of, warm_up_inputs
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Network, Signature
from stablequant.recognisers.modules import QuantizedModule

RUNS = {"i8": INT8, "u8": INT8, "f32": FLOAT32, "bf16": BFLOAT16, "f16": "float16"}  # OpenVINO's names
PRODUCTS = ("Convolution", "FullyConnected", "MatMul")


class OpenVino:
    """See `stablequant.engines.backend.Backend`."""

    def version(self) -> str:
        """Version of OpenVINO."""
        return str(ov.get_version())

    def build(self, request: Request, folder: Path) -> Description:
        """Convert each graph. INT8 weights stay INT8. The two graphs of a decoder become one network with a memory.

        Layers that are not quantized must run in float32, so bfloat16 is allowed only if every layer is INT8.
        """
        further = further_steps(request.signatures)
        for name, graph in request.graphs.items():
            if name in further.values():
                continue
            model = converted(graph)
            if name in further:
                memory = request.signatures[further[name]].memory
                model = join_steps(model, converted(request.graphs[further[name]]), memory)
                fuse_growing_attention(model)
                quantize_once(model)
            share_tables(model)
            if request.all_int8:  # an fp32 engine stays what it is called
                halve_constants(model)
            save(model, folder / f"{name}.xml")
        return {"floating": request.settings["floating"] if request.all_int8 else FLOAT32}

    def check(self, description: Description) -> bool:
        """True: nothing is needed beyond what every engine has."""
        return True

    def load(
        self,
        folder: Path,
        description: Description,
        signatures: Mapping[str, Signature],
        threads: int,
        cache: Path | None = None,
    ) -> Loaded:
        """Compile the networks for this CPU. OpenVINO (2026.4.1) cannot load one with a memory from ``cache``."""
        floating = description.get("floating", FLOAT32)
        networks: dict[str, Network] = {}
        found = []
        further = further_steps(signatures)
        for name, signature in signatures.items():
            file = network_file(folder, description, f"{name}.xml")
            if name in further:
                both = signature, signatures[further[name]]
                compiled, arithmetic = compile_network(_matching(file, with_memory(*both)), threads, floating)
                with _warming_up(file):
                    networks[name], networks[further[name]] = remembering_networks(compiled, *both)
            elif name not in further.values():
                networks[name], arithmetic = load_network(file, signature, threads, floating, cache)
            else:
                continue
            found.append(arithmetic)
        return Loaded(networks, next((kind for kind in found if kind != FLOAT32), FLOAT32))

    def precisions(self, folder: Path, description: Description, modules: Sequence[QuantizedModule]) -> dict[str, str]:
        """The precisions of the kernels in the compiled networks."""
        runs: dict[str, str] = {}
        for network in sorted(folder.glob("*.xml")):
            runs |= precisions(network, modules, description.get("floating", FLOAT32))
        return runs

    def reason_not_run(self, description: Description) -> str | None:
        """None: OpenVINO runs on every CPU."""
        return None

    def max_batch(self, description: Description) -> float:
        """Infinity: there is no limit."""
        return math.inf


BACKEND = OpenVino()


def convert(onnx: Path, network: Path) -> None:
    """Write the graph ``onnx`` as OpenVINO's ``network``, see `save`."""
    save(converted(onnx), network)


def converted(onnx: Path) -> ov.Model:
    """The graph ``onnx`` in the form that OpenVINO computes fastest."""
    model = ov.Core().read_model(onnx)
    round_lengths(model)
    channels_last(model)
    fold_key_transpose(model)
    return model


def save(model: ov.Model, network: Path) -> None:
    """Write ``model`` as a ``network`` (.xml), with the weights beside it (.bin).

    Raises `StableQuantError` if the files cannot be written.
    """
    try:
        ov.save_model(model, network, compress_to_fp16=False)
    except RuntimeError as error:  # OpenVINO does not say why
        raise StableQuantError(
            network.parent, f"the network cannot be written ({error})", "see whether the disk is full, and run again"
        ) from error


def load_network(
    file: Path, signature: Signature, threads: int, floating: str = FLOAT32, cache: Path | None = None
) -> tuple[Network, str]:
    """The network in ``file`` as a function of its inputs, and the arithmetic of its quantized layers on this CPU.

    Threads may call the function at the same time: each call has an infer request of its own, and copies its results.
    They wait for each other inside OpenVINO, which computes one call after another with all threads.

    ``floating`` is the wanted arithmetic of what is not quantized, see `compile_network`, also for ``cache``. The
    network runs once on the warm-up of its signature, so that the first caller does not wait for the making of kernels.

    Raises `StableQuantError` if the network is damaged or does not match ``signature``.
    """
    model = _matching(file, signature)
    inputs = names_of(signature.inputs, [tensor.get_names() for tensor in model.inputs])
    outputs = names_of(signature.outputs, [tensor.get_names() for tensor in model.outputs])
    compiled, arithmetic = compile_network(model, threads, floating, cache)
    requests = Requests(compiled)

    def network(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        request = requests.take()
        found = request.infer([tensors[name] for name in inputs], share_inputs=False, share_outputs=False)
        copies = {name: found[place] for place, name in enumerate(outputs)}
        requests.give_back(request)
        return copies

    with _warming_up(file):
        network(warm_up_inputs(signature))
    return network, arithmetic


@contextmanager
def _warming_up(file: Path) -> Iterator[None]:
    """A network that cannot be computed inside the block is told as a fault of ``file``."""
    try:
        yield
    except RuntimeError as error:
        raise StableQuantError(file, f"it cannot be computed ({_reason(error)})", "build the engine again") from error


def _reason(error: RuntimeError) -> str:
    """What OpenVINO says last."""
    return (str(error).strip().splitlines() or ["OpenVINO tells no reason"])[-1]


def _matching(file: Path, signature: Signature) -> ov.Model:
    """The network in ``file``; raise `StableQuantError` if it is damaged or does not match ``signature``."""
    model = _read(file)
    sides = []
    for tensors in (model.inputs, model.outputs):
        ranks = [tensor.partial_shape.rank for tensor in tensors]
        axes = [None if rank.is_dynamic else rank.get_length() for rank in ranks]
        sides.append([(tensor.get_names(), count) for tensor, count in zip(tensors, axes, strict=True)])
    check_tensors(signature, sides[0], sides[1], file)
    return model


def _read(network: Path) -> ov.Model:
    try:
        return ov.Core().read_model(network)
    except RuntimeError as error:
        fault = f"damaged, or not for OpenVINO ({_reason(error)})"
        raise StableQuantError(network, fault, "build the engine again") from error


def compile_network(
    model: ov.Model, threads: int, floating: str = FLOAT32, cache: Path | None = None
) -> tuple[ov.CompiledModel, str]:
    """Compile ``model`` for this CPU; return it and the arithmetic of its quantized layers.

    With ``floating`` bfloat16, the operations between INT8 layers (products of the attention, norms, sums) run in
    bfloat16 if the CPU has it. The returned arithmetic then names both types. If the CPU's INT8 kernels saturate (see
    `int8_kernels_are_exact`), the quantized graph runs in floating point. This is exact but slower than fp32. So do
    convolutions whose INT8 kernels are wrong here. ``model`` is changed for both.

    ``cache`` is a folder for what OpenVINO compiled, see `stablequant.engines.openvino_cache`.
    """
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    arithmetic = INT8 if any(op.get_type_name() == "FakeQuantize" for op in model.get_ops()) else FLOAT32
    if arithmetic == INT8 and not int8_kernels_are_exact():
        logging.warning("without VNNI instructions this CPU's INT8 sums overflow; the engine runs in float32 instead")
        settings["LP_TRANSFORMS_MODE"] = "NO"
        decompose_multiplied(model)
        arithmetic = FLOAT32
    if arithmetic == INT8 and floating == BFLOAT16 and has_bfloat16():
        settings["INFERENCE_PRECISION_HINT"] = "bf16"
        arithmetic = f"{INT8} and {BFLOAT16}"
    elif arithmetic == INT8:
        decompose_before_wrong_convolutions(model)
    settings[KEPT_PRECISION] = settings["INFERENCE_PRECISION_HINT"]
    return compile_with_cache(model, settings, arithmetic, cache), arithmetic


def precisions(file: Path, modules: Sequence[QuantizedModule], floating: str = FLOAT32) -> dict[str, str]:
    """The precision of each of ``modules`` on this CPU, by module name, from the kernels of the compiled network.

    ``floating`` is as in `load_network`. The network's ``runtimePrecision`` is not used: it is ``i8`` even for a
    floating-point product whose weights are stored as INT8.
    """
    model = _read(file)
    wanted = {m.module for m in modules}
    carried = {name: name for name in wanted}  # name of a product, or of the addition it may be fused with -> module
    for node in model.get_ops():
        if node.get_friendly_name() in wanted:
            for reader in node.output(0).get_target_inputs():
                carried[reader.get_node().get_friendly_name()] = node.get_friendly_name()
    kernels = _kernels(model, floating)
    if hidden := filling(_read(file)):
        kernels += _kernels(hidden, floating)
    runs: dict[str, str] = {}
    for node in kernels:
        known = node.get_rt_info()
        if known["layerType"].astype(str) in PRODUCTS:
            precision = known["primitiveType"].astype(str).rpartition("_")[2].lower()  # such as brgconv_avx2_f32
            for name in known["originalLayersNames"].astype(str).split(","):
                if name.split("/")[0] in carried:
                    runs.setdefault(carried[name.split("/")[0]], RUNS.get(precision, precision))
    return runs


def _kernels(model: ov.Model, floating: str) -> list[ov.Node]:
    compiled, _ = compile_network(model, threads=1, floating=floating)
    return list(compiled.get_runtime_model().get_ordered_ops())


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def int8_kernels_are_exact() -> bool:
    """Whether this CPU multiplies the largest INT8 numbers correctly.

    x86 CPUs without VNNI add pairs of products in 16 bits. Large weights and activations overflow there silently.
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
