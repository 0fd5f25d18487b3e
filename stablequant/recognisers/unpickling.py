"""Read torch files from untrusted sources without running code in them."""

import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import torch

from stablequant.errors import StableQuantError

MAX_ENTRIES = 100_000  # limit for a checkpoint's settings; fairseq's have hundreds


class Placeholder:
    """Replaces an object of a class that is not available: it stores the object's values and does nothing."""

    def __new__(cls, *_arguments: object) -> "Placeholder":
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class Saved(TypedDict, total=False):
    """What this package reads of a fairseq checkpoint. Only the type of ``model`` is checked.

    Attributes
    ----------
    model: parameters by name
    cfg, args: settings, in files from 2021 on, and in older files
    task_state: may contain the dictionary
    """

    model: dict[str, object]
    cfg: object
    args: object
    task_state: object


# Classes in fairseq's checkpoints that contain only values.
INERT = {
    name: type(name.rpartition(".")[2], (Placeholder,), {})
    for name in (
        "fairseq.data.dictionary.Dictionary",
        "fairseq.meters.AverageMeter",
        "fairseq.meters.StopwatchMeter",
        "fairseq.meters.TimeMeter",
        "fairseq.logging.meters.AverageMeter",
        "fairseq.logging.meters.StopwatchMeter",
        "fairseq.logging.meters.TimeMeter",
        "fairseq.dataclass.constants.Choices",
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        "omegaconf.nodes.AnyNode",
        "omegaconf.nodes.BooleanNode",
        "omegaconf.nodes.EnumNode",
        "omegaconf.nodes.FloatNode",
        "omegaconf.nodes.IntegerNode",
        "omegaconf.nodes.StringNode",
        "typing.Any",
        "builtins.bool",
        "builtins.dict",
        "builtins.float",
        "builtins.int",
        "builtins.list",
        "builtins.str",
        "builtins.tuple",
        "__builtin__.dict",
        "__builtin__.list",
        "__builtin__.long",
        "collections.defaultdict",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
    )
}


def read_state(path: Path) -> Saved:
    """Content of a fairseq checkpoint: tensors, plain values and `Placeholder` objects.

    torch's restricted unpickler creates only tensors, plain values and the classes in `INERT`.

    Raises
    ------
    StableQuantError
        when the file is damaged, is not a fairseq checkpoint, or asks for another class; the message names that class.
    """
    allowed: list[Any] = [Namespace, *((stand_in, name) for name, stand_in in INERT.items())]
    try:
        with torch.serialization.safe_globals(allowed):
            state: Saved = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise StableQuantError(path, refusal(error), "take a checkpoint as fairseq publishes it") from None
    except Exception as error:  # damaged bytes can cause any error in the unpickler, such as struct.error
        raise StableQuantError(path, f"not a readable torch file ({error!r})", "restore the file") from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise StableQuantError(path, "no fairseq checkpoint (it has no 'model')", "take a CTC fine-tuned checkpoint")
    return state


def plain(value: object, room: Iterator[int] | None = None) -> object:
    """``value`` from `read_state`, with namespaces and nodes of omegaconf converted to dicts and lists.

    ``room`` counts the entries; callers leave it out.

    Raises
    ------
    ValueError
        when there are more than `MAX_ENTRIES` entries. A small file can expand to more than fits into memory if it
        refers to the same list many times.
    """
    room = room or iter(range(MAX_ENTRIES))
    if next(room, None) is None:
        raise ValueError(f"more than {MAX_ENTRIES} settings")
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {key: plain(item, room) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, room) for item in value]
    if isinstance(value, Placeholder):
        if isinstance(value.state, dict):
            return plain(value.state.get("_content", value.state.get("_val")), room)
        return plain(value.arguments[0], room) if value.arguments else None
    return value


def refusal(error: Exception) -> str:
    """Why torch did not read a file, without its advice to read the file unrestricted."""
    message = " ".join(str(error).split())
    reason = message.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0]
    wanted = re.search(r"(?:GLOBAL|built-in function|function|class) '?([\w.]+)", reason)
    if wanted and ("GLOBAL" in reason or "unrecognized function" in reason):
        return f"it asks for {wanted[1]}, which could run code"
    return f"not readable ({reason.partition(' This file can still be loaded')[0][:200]})"
