"""TensorRT for RTX: it builds plans for given compute capabilities, without a GPU."""

from stablequant.engines.tensorrt import TensorRt

BACKEND = TensorRt("tensorrt-rtx")
