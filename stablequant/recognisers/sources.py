"""Sources of checkpoints: a folder in Hugging Face layout, a single file, or the hub."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from stablequant.errors import StableQuantError

TRAINERS = re.compile(r"checkpoint-\d+")  # the folders of transformers' Trainer, by the number of steps
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
)
WEIGHTS = {  # the file that holds all weights, and the names of shards, in the order in which transformers takes them
    "model.safetensors": "model-*-of-*.safetensors",
    "pytorch_model.bin": "pytorch_model-*-of-*.bin",
}
HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


def adapter_files(language: str) -> tuple[str, str]:
    """Names that the file with the weights of ``language`` can have in a checkpoint with adapters for languages."""
    return f"adapter.{language}.safetensors", f"adapter.{language}.bin"


def is_hub_identifier(source: str) -> bool:
    """Whether ``source`` has the form ``owner/name`` or ``owner/name@revision`` of the hub and is not a local path."""
    return not Path(source).exists() and HUB.fullmatch(source) is not None


def check_source(source: str, place: str) -> None:
    """Raise `StableQuantError`, which names ``place``, if ``source`` neither exists nor has the form of a hub name."""
    if not Path(source).exists() and not is_hub_identifier(source):
        raise StableQuantError(
            place, f"'{source}' is neither a file nor a folder nor owner/name on the hub", "correct the path"
        )


def checkpoint_files(source: str, language: str | None = None) -> list[str]:
    """Local files of a checkpoint, including dictionaries beside a single file; none for a checkpoint on the hub.

    Of adapters for languages, only that of ``language`` counts.
    """
    path = Path(source)
    if is_hub_identifier(source):
        return []
    if path.is_file():
        return [source, *sorted(str(file) for file in path.parent.glob("dict.*.txt"))]
    others = {*path.glob("adapter.*.safetensors"), *path.glob("adapter.*.bin")}
    others -= {path / name for name in adapter_files(language)} if language else set()
    found = [file for file in path.iterdir() if file.is_file() and file not in others]
    for above in processor_folders(path)[1:]:
        found += [file for name in PROCESSOR_FILES if (file := above / name).is_file()]
    return sorted(map(str, found))


def loaded_files(source: str, language: str | None = None) -> list[str]:
    """Those of `checkpoint_files` that an import loads: of a folder the texts, and only one copy of the weights.

    Folders can hold more, such as optimizer.pt, tf_model.h5, or model.fp32-00001-of-00002.safetensors.
    """
    files = checkpoint_files(source, language)
    folder = Path(source)
    if not folder.is_dir():
        return files
    loaded = {str(file) for file in _weights(folder)}
    loaded |= {str(folder / name) for name in adapter_files(language)} if language else set()
    return [file for file in files if file in loaded or file.endswith((".json", ".txt"))]


def _weights(folder: Path) -> list[Path]:
    """The files with weights that transformers takes from ``folder``."""
    for name, shards in WEIGHTS.items():
        if (folder / name).is_file():
            return [folder / name]
        if (folder / f"{name}.index.json").is_file():
            return list(folder.glob(shards))
    return []


def processor_folders(folder: Path) -> list[Path]:
    """Folders in which the files of a checkpoint's processor can lie, in the order in which they are tried.

    They lie beside the model, or one folder up if transformers' Trainer saved it in a folder like ``checkpoint-500``.
    """
    whole = folder.absolute()
    if not TRAINERS.fullmatch(whole.name):
        return [folder]
    return [folder, folder.parent if folder.name else whole.parent]


def read_config(folder: Path) -> Mapping[str, object]:
    """Content of ``config.json`` in ``folder``; raise `StableQuantError` if it is missing or damaged."""
    file = folder / "config.json"
    if not file.is_file():
        raise StableQuantError(file, "the file does not exist", _instead(folder))
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StableQuantError(file, f"not readable as JSON ({error})", "restore the file") from error
    if not isinstance(config, dict):
        raise StableQuantError(file, "not a model's configuration", "restore it")
    return config


def described(config: Mapping[str, object]) -> str:
    """What the model of a ``config.json`` is, for messages."""
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else "a model of no named architecture"
    return f"{architecture} ({config.get('model_type')})"


def check_head(config: Mapping[str, object], place: Path | str, heads: Sequence[str]) -> None:
    """Raise `StableQuantError` if no architecture that a ``config.json`` names ends with one of ``heads``."""
    named = config.get("architectures")
    if not any(str(name).endswith(tuple(heads)) for name in (named if isinstance(named, list) else ())):
        endings = " or ".join(f"...{head}" for head in heads)
        raise StableQuantError(
            place,
            f"{described(config)} has no head that writes text: it is a base model, or made for another task",
            f"take a checkpoint that was fine-tuned for speech recognition ({endings})",
        )


def _instead(folder: Path) -> str:
    """What to do about a ``folder`` without a ``config.json``."""
    if (folder / "adapter_config.json").is_file():
        return "it holds an adapter of PEFT: merge it into its model (merge_and_unload), and save that"
    inside = [file.parent for file in folder.glob("*/config.json") if TRAINERS.fullmatch(file.parent.name)]
    if inside:
        newest = max(inside, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]))
        return f"name one of the Trainer's folders in it, such as {newest}"
    return "name the folder of a checkpoint, or correct the path"
