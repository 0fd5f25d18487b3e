"""A digest of the project code that a script runs. After an edit, only the stages that use the edited code run again.

Imports are followed anywhere in a file. Relative imports and the ``__init__.py`` of packages are followed too. Some
modules import others by a name that is known only when they run. They say so in a constant ``PLUGIN``, such as
``"package.{family}.loading"``. This constant is completed with the family or backend in use.
"""

import ast
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "stablequant"
PLACEHOLDER = re.compile(r"{(\w+)}")


class Imports(NamedTuple):
    """What a file imports.

    Attributes
    ----------
    modules: names of modules of the package and of the packages around them; of imported names it is not known here
        which are modules
    plugins: templates of module names, which the file completes when it runs
    sha256: digest of the file's content
    """

    modules: frozenset[str]
    plugins: frozenset[str]
    sha256: bytes


def imports_of(file: Path, package: str = "") -> Imports:
    """The imports of ``file``. ``package`` is the package it belongs to; relative imports start there."""
    return _imports_of(file, file.stat().st_mtime_ns, package)


@cache
def _imports_of(file: Path, _modified: int, package: str) -> Imports:
    modules: set[str] = set()
    plugins: set[str] = set()
    content = file.read_bytes()
    tree = ast.parse(content)
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            modules.update(*(_around(alias.name) for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            modules.update(_around(origin), *(_around(f"{origin}.{alias.name}") for alias in node.names))
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["PLUGIN"]:
            plugins.add(str(ast.literal_eval(node.value)))
    return Imports(frozenset(modules), frozenset(plugins), hashlib.sha256(content).digest())


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements in ``body`` and in their blocks; expressions, which hold no imports, are left out."""
    for node in body:
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, block, ()))


def _around(module: str) -> list[str]:
    """The names of a module of the package and of all packages around it; nothing for a module of another project."""
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)] if parts[0] == PACKAGE else []


def _origin(node: ast.ImportFrom, package: str) -> str:
    """The absolute name of the module after ``from``."""
    parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
    return ".".join([*parents, *filter(None, [node.module])])


def all_modules(script: Path, root: Path, chosen: Mapping[str, str] | None = None) -> set[Path]:
    """``script`` and every module of the package that it imports, directly or indirectly.

    ``root`` is the folder that contains the package. ``chosen`` completes the names of plugins, such as
    ``{"family": "wav2vec2"}``. Without it, plugins are not followed.

    Raises
    ------
    KeyError
        when ``chosen`` has no value for a placeholder of a plugin.
    LookupError
        when the module of a plugin does not exist.
    """
    return set(_followed(script, root, chosen))


def _followed(script: Path, root: Path, chosen: Mapping[str, str] | None) -> dict[Path, Imports]:
    """The imports of each file of `all_modules`."""
    known = _modules(root)
    found: dict[Path, Imports] = {}
    waiting = [("", script)]
    seen: set[str] = set()
    while waiting:
        name, file = waiting.pop()
        found[file] = imports = imports_of(file, name if file.name == "__init__.py" else name.rpartition(".")[0])
        names = set(imports.modules)
        if chosen is not None:
            for plugin in imports.plugins:
                module = plugin.format_map(chosen)
                if module not in known:
                    raise LookupError(f"{file} imports {plugin} with {dict(chosen)}, but there is no such module")
                names.update(_around(module))
        waiting += ((new, file) for new in (names - seen) & known.keys() for file in known[new])
        seen |= names
    return found


def _modules(root: Path) -> dict[str, list[Path]]:
    """Files of all modules and packages of the package in ``root``, by name."""
    found: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(root / PACKAGE):
        folders[:] = [folder for folder in folders if folder != "__pycache__"]
        folder = Path(place)
        package = ".".join(folder.relative_to(root).parts)
        for name in names:
            if name.endswith(".py"):
                module = package if name == "__init__.py" else f"{package}.{name.removesuffix('.py')}"
                found.setdefault(module, []).append(folder / name)
    return found


def placeholders(script: Path, root: Path) -> set[str]:
    """Placeholders that `code_digest` needs values for to follow ``script``, such as ``family``."""
    plugins = (plugin for imports in _followed(script, root, None).values() for plugin in imports.plugins)
    return {name for plugin in plugins for name in PLACEHOLDER.findall(plugin)}


def code_digest(script: Path, root: Path, chosen: Mapping[str, str]) -> str:
    """Digest, 16 hexadecimal digits, of ``script`` and every module of the package that it imports.

    See `all_modules` for ``root``, ``chosen`` and the errors raised.
    """
    digest = hashlib.sha256()
    for file, imports in sorted(_followed(script, root, chosen).items()):
        digest.update(f"{file.relative_to(root)}\0".encode() + imports.sha256)
    return digest.hexdigest()[:16]
