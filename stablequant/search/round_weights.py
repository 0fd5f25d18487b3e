"""Round weights so that their errors cancel over calibration audio, see `stablequant.quantization.gptq`."""

from collections.abc import Mapping

import numpy as np

from stablequant.progress import progress
from stablequant.quantization.gptq import Moments, round_weight
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.recognisers.operations import operation_of
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.module_inputs import measure_inputs
from stablequant.search.split import Split


def round_weights(
    recogniser: Recogniser, split: Split, channel_scales: Mapping[str, np.ndarray], audio_seconds: float
) -> dict[str, RoundedWeight]:
    """INT8 weights by module name, for activations that are divided by their ``channel_scales``.

    Their scales are those of `quantize_weight`. The second moments of their inputs are measured in fp32 on
    ``audio_seconds`` of the split, see `Split.sample`.
    """
    moments = Moments({m.activation: operation_of(recogniser.model, m) for m in recogniser.modules})
    measure_inputs(recogniser, split.sample(audio_seconds), moments, "moments")
    rounded = {}
    for module in progress(recogniser.modules, label="weights"):
        operation = operation_of(recogniser.model, module)
        scales = channel_scales.get(module.activation)
        rounded[module.module] = round_weight(operation, scales, moments.blocks[module.activation])
    return rounded
