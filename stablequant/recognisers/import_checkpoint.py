"""Bringing a checkpoint, wherever it comes from, into the one layout the pipeline reads."""

from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import read_front_end, write_front_end
from stablequant.recognisers.operations import operation_of
from stablequant.recognisers.sources import is_fairseq_file, is_hub_identifier
from stablequant.recognisers.wav2vec2.fairseq import read_fairseq
from stablequant.recognisers.wav2vec2.huggingface import download, read_huggingface
from stablequant.recognisers.wav2vec2.layers import quantized_modules
from stablequant.storage.files import replacing_folder


def import_checkpoint(source: str, destination: Path) -> pd.DataFrame:
    """Write ``source`` to ``destination`` in Hugging Face layout, float32; return the layer table.

    ``source`` is a fairseq file, a folder in Hugging Face layout, or ``owner/name[@revision]`` on the hub. The table
    has one row per quantized module: ``layer kind module activation type inputs outputs kernel groups parameters``.
    Raise `StableQuantError` where the checkpoint cannot be read, is of a kind that is not supported, or holds weights
    that are not finite.
    """
    if is_hub_identifier(source):
        model, front_end = read_huggingface(download(source))
    elif is_fairseq_file(Path(source)):
        model, front_end = read_fairseq(Path(source))
    else:
        model, front_end = read_huggingface(Path(source))
    if not all(torch.isfinite(values).all() for values in model.state_dict().values()):
        raise StableQuantError(source, "weights that are not finite numbers", "take an intact checkpoint")
    with replacing_folder(destination) as folder:
        model.save_pretrained(folder)
        write_front_end(folder, front_end)
        read_front_end(folder)
    return layer_table(model)


def layer_table(model: PreTrainedModel) -> pd.DataFrame:
    rows = []
    for module in quantized_modules(model.config.to_dict()):
        operation = operation_of(model, module)
        convolution = operation if isinstance(operation, torch.nn.Conv1d) else None
        rows.append(
            {
                "layer": module.layer,
                "kind": module.kind,
                "module": module.module,
                "activation": module.activation,
                "type": "Conv1d" if convolution else "Linear",
                "inputs": convolution.in_channels if convolution else operation.weight.shape[1],
                "outputs": operation.weight.shape[0],
                "kernel": convolution.kernel_size[0] if convolution else 1,
                "groups": convolution.groups if convolution else 1,
                "parameters": operation.weight.numel(),
            }
        )
    return pd.DataFrame(rows)
