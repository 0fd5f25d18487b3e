"""Checkpoints from the Hugging Face hub."""

import logging
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import snapshot_download

from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.recognisers.sources import read_config

TEXTS = ["*.json"]
SAFE_WEIGHTS = ["model*.safetensors"]
PICKLED_WEIGHTS = ["pytorch_model*.bin"]


def download(identifier: str) -> Path:
    """Folder of the hub's ``owner/name`` or ``owner/name@revision``, from the local cache where it is there already.

    Pickled weights are fetched only where there are no safetensors.
    """
    name, _, revision = identifier.partition("@")
    try:
        for weights in (SAFE_WEIGHTS, PICKLED_WEIGHTS):
            folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=TEXTS + weights))
            if any(file for pattern in weights for file in folder.glob(pattern)):
                break
    except Exception as error:  # the hub's library raises what its network library raises
        if fault_of_the_machine(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise StableQuantError(
            identifier, f"the hub does not give it ({reason})", "correct the name, or download it and give its folder"
        ) from error
    logging.info("%s: revision %s", name, folder.name)
    return folder


def download_checkpoint(identifier: str) -> Mapping[str, object]:
    """Download a checkpoint into the hub's cache; return what is to be known of it before it is imported.

    ``source`` is its name with the exact revision, so that another run imports the same; ``bytes`` the size of its
    files; ``config`` its ``config.json``.
    """
    folder = download(identifier)
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return {
        "source": f"{identifier.partition('@')[0]}@{folder.name}",
        "bytes": size,
        "config": read_config(folder),
    }
