"""TensorRT for RTX: plans for GPUs of named compute capabilities, built without one."""

from stablequant.engines.tensorrt import TensorRt

BACKEND = TensorRt("tensorrt-rtx")
