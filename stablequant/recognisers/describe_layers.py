"""What ``layers.tsv`` says of the quantized modules of a torch model."""

import re
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd
import torch

from stablequant.recognisers.modules import LAYER, QuantizedModule
from stablequant.recognisers.operations import groups_of, operation_of


def layer_table(model: torch.nn.Module, modules: Sequence[QuantizedModule]) -> pd.DataFrame:
    """One row per module: the fields of `QuantizedModule`, and ``type inputs outputs kernel groups parameters``.

    ``inputs`` and ``outputs`` are numbers of channels, and ``parameters`` is the number of weights. Raises ValueError
    if a family calls a layer what cannot be the name of a file, see `LAYER`.
    """
    rows = []
    for module in modules:
        if not re.fullmatch(LAYER, module.layer):
            raise ValueError(f"a layer may not be called '{module.layer}', but lower-case letters and then digits")
        operation = operation_of(model, module)
        weight = operation.weight
        rows.append(
            {
                **asdict(module),
                "type": "Conv1d" if isinstance(operation, torch.nn.Conv1d) else "Linear",
                "inputs": weight.shape[1] * groups_of(operation),
                "outputs": weight.shape[0],
                "kernel": weight.shape[2] if weight.ndim == 3 else 1,
                "groups": groups_of(operation),
                "parameters": weight.numel(),
            }
        )
    return pd.DataFrame(rows)
