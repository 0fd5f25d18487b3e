"""Import a checkpoint from any supported source into the layout that the pipeline reads."""

from importlib import import_module
from pathlib import Path

import pandas as pd
import torch

from stablequant.errors import StableQuantError
from stablequant.recognisers.describe_layers import layer_table
from stablequant.recognisers.download_checkpoint import download
from stablequant.recognisers.family import Importing
from stablequant.recognisers.registry import family_of, heads_by_kind
from stablequant.recognisers.sources import is_hub_identifier
from stablequant.storage.files import replacing_folder

PLUGIN = "stablequant.recognisers.{family}.importing"


def import_checkpoint(source: str, destination: Path, language: str | None = None) -> pd.DataFrame:
    """Write ``source`` to the folder ``destination`` in the layout of its family, in float32; return the layer table.

    ``source`` is a single file (fairseq), a folder in Hugging Face layout, or ``owner/name[@revision]`` on the hub.
    ``language`` is the language whose adapter and vocabulary to take, of a checkpoint with several. The table has one
    row per quantized module, see `layer_table`.

    Raises
    ------
    StableQuantError
        when the checkpoint cannot be downloaded or read, is not supported, or contains NaN or infinity, or when it has
        no such language.
    """
    folder = download(source, language, heads_by_kind()) if is_hub_identifier(source) else Path(source)
    part: Importing = import_module(PLUGIN.format(family=family_of(folder).name))
    imported = part.read(folder) if language is None else part.read(folder, language)
    if not all(torch.isfinite(values).all() for values in imported.model.state_dict().values()):
        raise StableQuantError(source, "the weights contain NaN or infinity", "take an intact checkpoint")
    with replacing_folder(destination) as making:
        imported.write(making)
    return layer_table(imported.model, imported.modules)
