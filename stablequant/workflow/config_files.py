"""Check the files of the config as they are written: what is lost once they were read and merged."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from stablequant.errors import StableQuantError
from stablequant.workflow.config_schema import config_key


def check_files(files: Iterable[Path]) -> None:
    """Check what is lost once the config's files were read and merged.

    Raises
    ------
    StableQuantError
        when a key occurs twice in a block, when YAML reads the name of a model as a number or a truth value, or when
        a model is empty everywhere: an empty model removes one that another file defines. Files that cannot be read
        as YAML are skipped; Snakemake reads them first, and refuses them.
    """
    empty: dict[str, str] = {}
    filled: set[str] = set()
    for file in files:
        try:
            root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if _value(root, "__use_yte__") is not None:  # a template, in which keys such as ?if may occur again
            continue
        _check_repetition(file, root, [])
        for key, value in _entries(_value(root, "models")):
            place = f"{file}, line {key.start_mark.line + 1}"
            if key.tag != "tag:yaml.org,2002:str":
                raise StableQuantError(
                    place,
                    f"YAML does not read the model's name {key.value} as text",
                    f'put it in quotes: "{key.value}":',
                )
            if value.tag == "tag:yaml.org,2002:null":
                empty[key.value] = place
            else:
                filled.add(key.value)
    for name, place in empty.items():
        if name not in filled:
            raise StableQuantError(
                place,
                f"the model '{name}' is empty",
                "give it a checkpoint, calibration and evaluation, or remove the line",
            )


def _entries(node: yaml.Node | None) -> Sequence[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _value(node: yaml.Node | None, name: str) -> yaml.Node | None:
    return next((value for key, value in _entries(node) if key.value == name), None)


def _check_repetition(file: Path, node: yaml.Node | None, path: list[str]) -> None:
    seen: dict[str, int] = {}
    for key, value in _entries(node):
        name = str(key.value)
        line = key.start_mark.line + 1
        if name in seen and name != "<<":  # << merges blocks; several are allowed
            raise StableQuantError(
                f"{file}, line {line}",
                f"the {config_key([*path, name])} is on line {seen[name]} too",
                "keep one of them",
            )
        seen[name] = line
        _check_repetition(file, value, [*path, name])
