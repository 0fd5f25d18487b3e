"""The part `graphs` of `gpu.py`: the graphs that TensorRT's engines are built from."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from project import PROJECT
from gpu import FOLDER
from gpu_setting import GPU, fresh, row
from large_graphs import quantize, write_hubert_large
from onnx import TensorProto, numpy_helper

from stablequant.recognisers.import_checkpoint import import_checkpoint

SHAPE = "HuBERT large's shape" if GPU else "the demo's second recogniser"  # what the graphs are of
PRECISIONS = ("fp32", "fp16", "int8")
LARGE = 100_000  # numbers in a weight, above which it is converted to fp16 as it is


def graphs() -> Iterator[dict]:
    """HuBERT large's shape in fp32, fp16 and INT8, as ONNX graphs."""
    folder = fresh(FOLDER / "graphs")
    source = PROJECT / "resources/demo/large"
    if GPU:
        source = folder / "source"
        write_hubert_large(source)
    start = time.perf_counter()
    import_checkpoint(str(source), folder / "checkpoint")
    quantize(folder / "checkpoint", folder)
    write_fp16(folder / "fp32.onnx", folder / "fp16.onnx")
    yield row(SHAPE, "making of the graphs, on the CPU", time.perf_counter() - start, "s")
    for precision in PRECISIONS:
        yield row(SHAPE, f"{precision} graph", (folder / f"{precision}.onnx").stat().st_size / 1e6, "MB")


def write_fp16(source: Path, destination: Path) -> None:
    """The graph ``source`` in fp16, its inputs and outputs still float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE:
            # The library would search each for numbers that fp16 cannot hold, which takes half a minute in all.
            values = torch.tensor(numpy_helper.to_array(tensor)).half().numpy()
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    # TensorRT has all of the graph's operations in fp16, so that none is left out and no shapes need be inferred.
    half = OnnxModel(convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True, op_block_list=[]))
    half.topological_sort()
    onnx.save(half.model, destination)


def made(path: Path) -> Path:
    """``path``, which the part `graphs` writes; raise FileNotFoundError if it did not."""
    if not path.exists():
        raise FileNotFoundError(f"{path.relative_to(PROJECT)}: the part 'graphs' did not write it")
    return path
