"""torch files that come from strangers, read without running anything that is in them."""

import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from stablequant.errors import StableQuantError

MAX_ENTRIES = 100_000  # of a checkpoint's settings; fairseq's have hundreds


class Inert:
    """Stands for an object of a class that is not here: keeps what was stored, does nothing."""

    def __new__(cls, *_arguments: Any) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


# Classes that fairseq's checkpoints name and that hold nothing but values.
INERT = {
    name: type(name.rpartition(".")[2], (Inert,), {})
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


def read_state(path: Path) -> dict[str, Any]:
    """The file's content: tensors, plain values and `Inert` stand-ins.

    torch's restricted unpickler builds only tensors and the classes named in `INERT`; a file that asks for any other is
    refused by that name.
    """
    allowed: list[Any] = [Namespace, *((stand_in, name) for name, stand_in in INERT.items())]
    try:
        with torch.serialization.safe_globals(allowed):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise StableQuantError(path, refusal(error), "take a checkpoint as fairseq publishes it") from None
    except Exception as error:  # damaged bytes raise whatever the unpickler's opcodes do, struct.error among them
        raise StableQuantError(path, f"not a readable torch file ({error!r})", "restore the file") from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise StableQuantError(path, "no fairseq checkpoint (it has no 'model')", "take a CTC fine-tuned checkpoint")
    return state


def plain(value: Any, room: Iterator[int] | None = None) -> Any:
    """``value`` with namespaces and omegaconf's nodes, as `read_state` gives them, turned into dicts and lists.

    Raises
    ------
    ValueError
        at more than `MAX_ENTRIES`; a small file can hold more than any memory, by naming the same list again and again.
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
    if isinstance(value, Inert):
        if isinstance(value.state, dict):
            return plain(value.state.get("_content", value.state.get("_val")), room)
        return plain(value.arguments[0], room) if value.arguments else None
    return value


def refusal(error: Exception) -> str:
    """Why a file of tensors was not read, without torch's advice to read it unrestricted."""
    message = " ".join(str(error).split())
    reason = message.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0]
    wanted = re.search(r"(?:GLOBAL|built-in function|function|class) '?([\w.]+)", reason)
    if wanted and ("GLOBAL" in reason or "unrecognized function" in reason):
        return f"it asks for {wanted[1]}, which could run code"
    return f"not readable ({reason.partition(' This file can still be loaded')[0][:200]})"
