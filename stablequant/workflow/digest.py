"""A digest of the project code that a script runs. After an edit, only the stages that use the edited code run again.

Imports are followed anywhere in a file. Relative imports and the ``__init__.py`` of packages are followed too. Some
modules import others by a name that is known only when they run. They say so in a constant ``PLUGIN``, such as
``"package.{family}.loading"``. This constant is completed with the family or backend in use.
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
    """What a file imports.

    Attributes
    ----------
    modules: names of modules
    plugins: templates of module names, which the file completes when it runs
    """

    modules: frozenset[str]
    plugins: frozenset[str]


def imports_of(file: Path, package: str = "") -> Imports:
    """The imports of ``file``. ``package`` is the package it belongs to; relative imports start there."""
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
        if chosen is None:
            continue
        for plugin in imports.plugins:
            files = list(_files(plugin.format_map(chosen), root))
            if not any(module == plugin.format_map(chosen) for module, _ in files):
                raise LookupError(f"{file} imports {plugin} with {dict(chosen)}, but there is no such module")
            waiting += files
    return found


def _files(module: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of a module and of all packages around it; nothing for a module of another project."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return
    for length in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:length])
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                yield ".".join(parts[:length]), file


def placeholders(script: Path, root: Path) -> set[str]:
    """Placeholders that `code_digest` needs values for to follow ``script``, such as ``family``."""
    plugins = (plugin for file in all_modules(script, root) for plugin in imports_of(file).plugins)
    return {name for plugin in plugins for name in PLACEHOLDER.findall(plugin)}


def code_digest(script: Path, root: Path, chosen: Mapping[str, str]) -> str:
    """Digest, 16 hexadecimal digits, of ``script`` and every module of the package that it imports.

    See `all_modules` for ``root``, ``chosen`` and the errors raised.
    """
    digest = hashlib.sha256()
    for file in sorted(all_modules(script, root, chosen)):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
