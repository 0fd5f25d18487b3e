"""Bringing a checkpoint into the one layout the pipeline reads."""

import shutil
from pathlib import Path

import pandas as pd
import torch
from transformers import AutoModelForCTC

from stablequant.errors import StableQuantError
from stablequant.files import read_json
from stablequant.layers import ENCODER_OF, quantized_modules
from stablequant.operations import operation_of
from stablequant.recognition import read_front_end

COPIED = ("vocab.json", "preprocessor_config.json")


def read_config(folder: Path) -> dict:
    """The checkpoint's ``config.json``, checked to be a CTC recogniser whose layers are known."""
    path = folder / "config.json"
    config = read_json(path)
    found = config.get("architectures") or ["no architecture"]
    if config.get("model_type") not in ENCODER_OF or not found[0].endswith("ForCTC"):
        known = ", ".join(sorted(ENCODER_OF))
        raise StableQuantError(
            path, f"{found[0]} ({config.get('model_type')}) is not supported", f"take a ...ForCTC checkpoint of {known}"
        )
    if config.get("add_adapter"):
        raise StableQuantError(path, "checkpoints with an adapter are not supported", "take one without 'add_adapter'")
    return config


def import_checkpoint(source: Path, destination: Path) -> pd.DataFrame:
    """Write ``source`` (Hugging Face layout, safetensors) to ``destination`` in float32; return the layer table.

    The table has one row per quantized module: ``layer kind module activation type inputs outputs kernel groups
    parameters``.
    """
    config = read_config(source)
    for name in COPIED:
        if not (source / name).is_file():
            raise StableQuantError(source / name, "the file does not exist", "complete the checkpoint's folder")
    try:
        model, loading = AutoModelForCTC.from_pretrained(
            source, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise StableQuantError(source, f"the weights cannot be read ({error})", "restore model.safetensors") from error
    missing = sorted(loading["missing_keys"])
    if missing:
        raise StableQuantError(source, f"the checkpoint lacks {missing[0]} and {len(missing) - 1} more", "complete it")
    if not all(torch.isfinite(p).all() for p in model.parameters()):
        raise StableQuantError(source, "weights that are not finite numbers", "take an intact checkpoint")
    model.save_pretrained(destination)
    for name in COPIED:
        shutil.copyfile(source / name, destination / name)
    read_front_end(destination)
    return layer_table(model, config)


def layer_table(model: torch.nn.Module, config: dict) -> pd.DataFrame:
    rows = []
    for module in quantized_modules(config["model_type"], len(config["conv_dim"]), config["num_hidden_layers"]):
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
