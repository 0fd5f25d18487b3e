"""Read the weights of a Hugging Face checkpoint into its model, also if wrappers of the model changed their names."""

import logging
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.recognisers.sources import WEIGHTS
from stablequant.recognisers.unpickling import refusal
from stablequant.storage.files import read_json

WRAPPERS = frozenset(  # parts of names that data-parallel, compiled and other wrappers of a model add
    {"module", "model", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
)
OLD_NAMES = {  # of a convolution with weight norm, before torch 2.0
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}
SWITCHES = frozenset(  # of the form of a model's output, and of how it is computed; none of them changes its values
    {
        "return_dict",
        "use_return_dict",
        "output_attentions",
        "output_hidden_states",
        "torchscript",
        "attn_implementation",
        "_attn_implementation",
        "auto_map",
    }
)


@dataclass(frozen=True)
class Kind:
    """What must be known of a kind of networks to tell whole weights from damaged ones.

    Attributes
    ----------
    automatic: transformers' class that makes the network of a configuration, such as ``AutoModelForCTC``
    head: what the parameters of the head are called in a message, and how their names begin
    needless: names of parameters that a file may lack, as inference never reads them or finds them elsewhere
    computing: names of parameters that change the output if they are left out
    """

    automatic: Any
    head: tuple[str, str]
    needless: re.Pattern[str]
    computing: re.Pattern[str]


def from_pretrained(automatic: Any, folder: Path, **options: object) -> Any:
    """What transformers' class ``automatic`` loads from ``folder`` in float32, without a bar of its progress."""
    silence: Callable[[], None] = disable_progress_bar
    silence()
    return automatic.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False, local_files_only=True, **options
    )


def build_config(place: Path, settings: Mapping[str, Any]) -> PreTrainedConfig:
    """The configuration with the content ``settings`` of the file ``place``, without `SWITCHES`.

    Raises `StableQuantError` if transformers does not take it, or if the weights are quantized.
    """
    if settings.get("quantization_config"):
        raise StableQuantError(
            place, "its weights are already quantized (quantization_config)", "take the one that it was made from"
        )
    kept = {key: value for key, value in settings.items() if key not in SWITCHES}
    try:
        config: PreTrainedConfig = CONFIG_MAPPING[settings["model_type"]].from_dict(kept)
    except Exception as error:  # transformers validates the types of some values with errors of its own
        reason = " ".join(str(error).split())[:300]
        raise StableQuantError(place, f"not a model's configuration ({reason})", "restore the file") from error
    return config


def load_pretrained(folder: Path, config: PreTrainedConfig, kind: Kind) -> PreTrainedModel:
    """The network of this ``config`` in float32 with the weights in ``folder``.

    Parameters that ``kind`` calls needless may be missing. Their values are constants then, so that the same files
    always give the same model. Raises `StableQuantError` if the weights are damaged or belong to another model.
    """
    try:
        with torch.device("meta"):
            empty = kind.automatic.from_config(config)
        stored, files = _stored(folder)
        _check_size(folder, empty, files)
        renamed = bare_names(folder, stored, set(empty.state_dict()), empty.base_model_prefix)
        loaded, loading = from_pretrained(
            kind.automatic,
            folder,
            config=config,
            key_mapping={f"^{re.escape(old)}$": new for old, new in renamed.items()} or None,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by their names
        )
    except StableQuantError:
        raise
    except Exception as error:  # transformers passes on the errors of its readers
        if fault_of_the_machine(error):
            raise
        raise StableQuantError(folder, f"the weights cannot be read: {refusal(error)}", "restore them") from error
    if renamed:
        logging.info("%s: %d weights were named by a wrapper, such as %s", folder, len(renamed), next(iter(renamed)))
    _check(folder, loading, kind)
    model: PreTrainedModel = loaded
    shared = model.all_tied_weights_keys  # they have the values of others
    for name, values in model.state_dict().items():
        if name in loading["missing_keys"] and name not in shared:  # transformers draws them at random
            values.fill_(1 if ".parametrizations." in name else 0)  # a weight norm divides by a norm
    return model


def _check_size(folder: Path, network: torch.nn.Module, files: Collection[Path]) -> None:
    """Raise `StableQuantError` if the ``files`` in ``folder`` are too small for the weights of the ``network``.

    A damaged or hostile config.json can ask for more memory than there is, and transformers takes it before it compares
    sizes. A weight has at least one byte in a file, and takes four in memory: what is let through takes at most four
    times the memory of the files.
    """
    if not files:
        raise StableQuantError(folder, f"the weights cannot be read: no {' or '.join(WEIGHTS)}", "restore them")
    for file in files:
        if not file.is_file():
            raise StableQuantError(file, "the file does not exist", "complete the checkpoint's folder")
    size = sum(file.stat().st_size for file in files)
    count = sum(parameter.numel() for parameter in network.parameters())
    if count > size:
        fault = f"its network has more weights ({count}) than the files have bytes ({size})"
        raise StableQuantError(folder / "config.json", fault, "take the config.json that was saved with these weights")


def _check(folder: Path, loading: Mapping[str, Iterable[Any]], kind: Kind) -> None:
    """Raise `StableQuantError` if weights that inference reads are missing, or if there are more than the model has."""
    missing = sorted(name for name in loading["missing_keys"] if not kind.needless.search(name))
    name, head = kind.head
    if missing == [f"{head}.bias"]:
        logging.info("%s: the %s has no bias", folder, name)
    elif missing and all(parameter.startswith(f"{head}.") for parameter in missing):
        raise StableQuantError(folder, f"the weights hold no {name} ({head})", "take a checkpoint fine-tuned with one")
    elif missing:
        raise StableQuantError(folder, f"the checkpoint lacks {missing[0]} and {len(missing) - 1} more", "complete it")
    more = sorted(name for name in loading["unexpected_keys"] if kind.computing.search(name))
    if more:
        fault = f"the weights hold {more[0]} and {len(more) - 1} more, for which config.json has no place"
        raise StableQuantError(folder, fault, "take the config.json that was saved with these weights")
    mismatched = loading.get("mismatched_keys")
    if mismatched:
        raise StableQuantError(folder, f"the weights do not fit config.json ({sorted(mismatched)[0]})", "restore them")


def bare_name(name: str) -> str:
    """The ``name`` of a tensor without the parts that wrappers added."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def bare_names(folder: Path, stored: Iterable[str], expected: set[str], base: str) -> dict[str, str]:
    """New names of those ``stored`` tensors that fit the ``expected`` names only without `WRAPPERS`.

    ``base`` is the name of the encoder, which transformers adds to names without it. Raises `StableQuantError`, which
    names ``folder``, if two stored tensors are spellings of one.
    """

    def place(name: str) -> str | None:
        for old, new in OLD_NAMES.items():
            if name.endswith(old):
                name = name.removesuffix(old) + new
        return next((found for found in (name, f"{base}.{name}") if found in expected), None)

    renamed: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in stored:
        bare = bare_name(name)
        found = place(name)
        if found is None and (found := place(bare)) is not None:
            renamed[name] = found
        if found is not None and taken.setdefault(found, name) != name:
            fault = f"the weights hold {found} twice, as {taken[found]} and as {name}"
            raise StableQuantError(folder, fault, "save the model once more, without its wrapper")
    return renamed


def _stored(folder: Path) -> tuple[list[str], set[Path]]:
    """Names of the tensors that transformers will read, and the file or the shards that hold them."""
    for name in WEIGHTS:
        file, index = folder / name, folder / f"{name}.index.json"
        if file.is_file() and file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                return list(tensors.keys()), {file}
        if file.is_file():
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
            return [key for key in state if isinstance(key, str)], {file}
        if index.is_file():
            shards = read_json(index)["weight_map"]
            return list(shards), {folder / shard for shard in shards.values()}
    return [], set()
