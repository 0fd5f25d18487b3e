"""The available families, and the family of a checkpoint.

A family is a package beside this module that has a module ``family``. It is imported by name, so that no other code
depends on a particular family. `stablequant.workflow.digest` follows this import through ``PLUGIN``.
"""

import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import stablequant.recognisers
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Family
from stablequant.recognisers.sources import check_head, described, read_config

PLUGIN = "stablequant.recognisers.{family}.family"


def family_named(name: str) -> Family:
    """The family whose package has the name ``name``."""
    found: Family = import_module(PLUGIN.format(family=name)).FAMILY
    return found


@cache
def families() -> tuple[Family, ...]:
    """All families, sorted by name."""
    packages = [module.name for module in pkgutil.iter_modules(stablequant.recognisers.__path__) if module.ispkg]
    return tuple(family_named(name) for name in sorted(packages) if find_spec(PLUGIN.format(family=name)))


def family_of(source: Path) -> Family:
    """The family of a checkpoint in a single file, or of a folder with a checkpoint, an engine or a bundle.

    The family of a folder follows from its ``config.json``.

    Raises
    ------
    StableQuantError
        when ``config.json`` is missing or damaged, or when not exactly one family claims the checkpoint.
    """
    if source.is_file():
        return _only(source, source.name, (family for family in families() if family.claims_file(source)))
    return family_of_config(read_config(source), source / "config.json")


def family_of_config(config: Mapping[str, object], place: Path) -> Family:
    """The family of a checkpoint whose config.json has the content ``config`` and was read from ``place``.

    Raises `StableQuantError` if not exactly one family claims it, or if it names an architecture that writes no text.
    Without a name only the weights tell.
    """
    family = _only(place, described(config), (family for family in families() if family.claims(config)))
    if config.get("architectures"):
        check_head(config, place, family.heads)
    return family


def heads_by_kind() -> dict[str, list[str]]:
    """How the names of architectures end that write text, by ``model_type``."""
    return {kind: list(family.heads) for family in families() for kind in family.kinds}


def _only(place: Path, what: str, claiming: Iterable[Family]) -> Family:
    found = list(claiming)
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(family.name for family in found)
        raise StableQuantError(place, f"{what} is claimed by the families {names}", "let only one of them claim it")
    known = ", ".join(sorted(kind for family in families() for kind in family.kinds))
    raise StableQuantError(place, f"{what} is not supported", f"take a checkpoint of one of {known}")
