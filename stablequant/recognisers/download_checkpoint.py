"""Download checkpoints from the Hugging Face hub."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.recognisers.sources import WEIGHTS, adapter_files, check_head, loaded_files, read_config

Heads = Mapping[str, Sequence[str]]  # see `stablequant.recognisers.registry.heads_by_kind`
TEXTS = ["*.json", "merges.txt"]  # the latter belongs to a tokenizer without tokenizer.json


def download(identifier: str, language: str | None, heads: Heads) -> Path:
    """Download ``owner/name`` or ``owner/name@revision``, unless it is in the local cache; return its folder.

    Of several copies of the weights only the one is downloaded that transformers takes, see `WEIGHTS`. Of adapters for
    languages, only that of ``language`` is downloaded. No weights are downloaded of a model of a kind in ``heads`` that
    writes no text.

    Raises
    ------
    StableQuantError
        when the checkpoint cannot be downloaded, or when it is such a model.
    """
    name, _, revision = identifier.partition("@")
    try:
        texts = _download(name, revision, [])
        config = read_config(texts)
        if config.get("architectures") and (endings := heads.get(str(config.get("model_type")))):
            check_head(config, f"{identifier}, config.json", endings)
        folder = _download(name, texts.name, *([pattern] for kind in WEIGHTS.items() for pattern in kind))
        if language is not None:
            _download(name, folder.name, *([file] for file in adapter_files(language)))
    except StableQuantError:
        raise
    except Exception as error:  # the hub's library passes on the errors of its network library
        if fault_of_the_machine(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise StableQuantError(
            identifier,
            f"cannot be downloaded from the hub ({reason})",
            "correct the name, or download it and give its folder",
        ) from error
    logging.info("%s: revision %s", name, folder.name)
    return folder


def _download(name: str, revision: str, *choices: list[str]) -> Path:
    """Download a repository's settings, and the files of the first of ``choices`` that it has; return their folder."""
    for patterns in choices:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=TEXTS + patterns))
        if any(file for pattern in patterns for file in folder.glob(pattern)):
            break
    return folder


def download_checkpoint(identifier: str, language: str | None, heads: Heads) -> Mapping[str, object]:
    """Download a checkpoint into the hub's cache; return what the workflow needs to know before the import.

    ``source`` is its name with the exact revision, so that another run imports the same checkpoint. ``bytes`` is the
    size of the files that an import loads, and ``config`` the content of its ``config.json``. See `download` for
    ``language`` and ``heads``.
    """
    folder = download(identifier, language, heads)
    size = sum(Path(file).stat().st_size for file in loaded_files(str(folder), language))
    return {
        "source": f"{identifier.partition('@')[0]}@{folder.name}",
        "bytes": size,
        "config": read_config(folder),
    }
