"""A fingerprint of the project code that a script runs, so that an edit reruns just the stages it touches.

Imports are followed wherever they stand in a file, relative ones and packages' ``__init__.py`` too. What is imported
by name is followed through the constant ``PLUGIN`` of the module that does so, such as ``"package.{family}.loading"``,
with the family or backend in use.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "stablequant"
PLACEHOLDER = re.compile(r"{(\w+)}")


class Imports(NamedTuple):
    """Names of modules that a file imports, and templates of names that it completes when it runs."""

    modules: frozenset[str]
    plugins: frozenset[str]


def imports_of(file: Path, package: str = "") -> Imports:
    """Of a file, whose relative imports are those of a module in ``package``."""
    return _imports_of(file, file.stat().st_mtime_ns, package)


@cache
def _imports_of(file: Path, _modified: int, package: str) -> Imports:
    modules: set[str] = set()
    plugins: set[str] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            modules |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["PLUGIN"]:
            plugins.add(str(ast.literal_eval(node.value)))
    return Imports(frozenset(modules), frozenset(plugins))


def _origin(node: ast.ImportFrom, package: str) -> str:
    """The absolute name that an import is from."""
    parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
    return ".".join([*parents, *filter(None, [node.module])])


def all_modules(script: Path, root: Path, chosen: Mapping[str, str] | None = None) -> set[Path]:
    """``script`` and every module of the package that it imports, directly or not.

    ``root`` is the folder that the package lies in. ``chosen`` completes plugins' names, such as ``{"family": "..."}``;
    without it they are not followed.

    Raises
    ------
    KeyError
        when a plugin is reached whose name ``chosen`` does not complete.
    LookupError
        when there is no such plugin.
    """
    found: set[Path] = set()
    waiting = [("", script)]
    while waiting:
        name, file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        imports = imports_of(file, package)
        for module in imports.modules:
            waiting += _files(module, root)
        for plugin in imports.plugins if chosen is not None else ():
            files = list(_files(plugin.format_map(chosen), root))
            if not any(module == plugin.format_map(chosen) for module, _ in files):
                raise LookupError(f"{file} imports {plugin}, completed by {dict(chosen or {})}")
            waiting += files
    return found


def _files(module: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of a module of the package and of all packages around it; nothing of a module of another one."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return
    for length in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:length])
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                yield ".".join(parts[:length]), file


def placeholders(script: Path, root: Path) -> set[str]:
    """What `code_digest` must be told of to follow ``script``, such as ``family``."""
    plugins = (plugin for file in all_modules(script, root) for plugin in imports_of(file).plugins)
    return {name for plugin in plugins for name in PLACEHOLDER.findall(plugin)}


def code_digest(script: Path, root: Path, chosen: Mapping[str, str]) -> str:
    """Digest of ``script`` and of every module of the package that it imports, see `all_modules`."""
    digest = hashlib.sha256()
    for file in sorted(all_modules(script, root, chosen)):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
