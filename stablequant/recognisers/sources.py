"""Where a checkpoint comes from, and how many layers it has, without opening it with anything heavy."""

import json
import pickletools
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stablequant.errors import StableQuantError
from stablequant.recognisers.wav2vec2.layers import layer_names, layer_names_of

HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
CONVOLUTION = re.compile(r"w2v_encoder\.w2v_model\.feature_extractor\.conv_layers\.(\d+)\.0\.weight")
TRANSFORMER = re.compile(r"w2v_encoder\.w2v_model\.encoder\.layers\.(\d+)\.fc1\.weight")
MAX_PICKLE_BYTES = 1 << 26  # a checkpoint's structure without its tensors; the largest known has a hundredth of it


def is_hub_identifier(source: str) -> bool:
    """Whether ``source`` is ``owner/name`` or ``owner/name@revision`` on the Hugging Face hub and no local path."""
    return not Path(source).exists() and HUB.fullmatch(source) is not None


def is_fairseq_file(source: Path) -> bool:
    """A single file is fairseq's, a folder is in Hugging Face layout."""
    return source.is_file()


def checkpoint_files(source: str) -> list[str]:
    """Local files that the checkpoint consists of; none of a checkpoint on the hub."""
    path = Path(source)
    if is_hub_identifier(source):
        return []
    if is_fairseq_file(path):
        return [source, *sorted(str(file) for file in path.parent.glob("dict.*.txt"))]
    return sorted(str(file) for file in path.iterdir() if file.is_file())


def checkpoint_layers(source: str, counts: Mapping[str, Any] | None, key: str) -> list[str]:
    """Names of the checkpoint's layers: its own where it is a local file, else by ``counts``, the config's ``layers``.

    ``key`` is the config key that names the checkpoint, for errors.
    """
    stated = layer_names(**counts) if counts else None
    if is_hub_identifier(source):
        if stated is None:
            raise StableQuantError(
                f"config key '{key}'",
                f"'{source}' is no local path; of a checkpoint on the hub the number of layers must be stated",
                "add, beside it, layers: {cnn: 7, transformer: 24}, or correct the path",
            )
        return stated
    path = Path(source)
    found = _fairseq_layers(path) if is_fairseq_file(path) else _config_layers(path / "config.json", key)
    if stated is not None and stated != found:
        raise StableQuantError(f"config key '{key}'", f"'layers' disagrees with {source}: {found}", "leave it out")
    return found


def _config_layers(file: Path, key: str) -> list[str]:
    if not file.is_file():
        raise StableQuantError(file, "the file does not exist", f"correct {key} in the config")
    try:
        return layer_names_of(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StableQuantError(
            file, f"not the config of a wav2vec 2.0 or HuBERT checkpoint ({error!r})", "restore it"
        ) from error


def _fairseq_layers(path: Path) -> list[str]:
    names = list(pickled_strings(path))
    convolutions = {int(match[1]) for name in names if (match := CONVOLUTION.fullmatch(name))}
    transformers = {int(match[1]) for name in names if (match := TRANSFORMER.fullmatch(name))}
    if not convolutions or not transformers:
        found = sorted({name.partition(".")[0] for name in names if name.endswith((".weight", ".bias"))})
        raise StableQuantError(
            path,
            f"it holds {', '.join(found[:6]) or 'no tensors'}, no wav2vec 2.0 or HuBERT with a CTC head (w2v_encoder)",
            "take a CTC fine-tuned checkpoint",
        )
    return layer_names(len(convolutions), len(transformers))


def pickled_strings(path: Path) -> Iterable[str]:
    """All strings in the structure of a torch file of either format, read without executing anything in it."""
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    yield from _strings_of_archive(archive)
            else:
                file.seek(0)
                for _ in range(4):  # magic number, protocol, system and, at last, the object itself
                    yield from _strings(file)
    except (OSError, ValueError, OverflowError, MemoryError, zipfile.BadZipFile) as error:
        raise StableQuantError(path, f"not a torch checkpoint ({error})", "restore the file") from error


def _strings_of_archive(archive: zipfile.ZipFile) -> Iterable[str]:
    members = [info for info in archive.infolist() if info.filename.rpartition("/")[2] == "data.pkl"]
    if len(members) != 1 or members[0].file_size > MAX_PICKLE_BYTES:
        raise ValueError("no data.pkl of a sensible size")
    with archive.open(members[0]) as file:
        yield from _strings(file)


def _strings(file: Any) -> Iterable[str]:
    yield from (argument for _, argument, _ in pickletools.genops(file) if isinstance(argument, str))
