"""A fingerprint of the project code that a script runs, so that an edit reruns just the stages it touches."""

import ast
import hashlib
from pathlib import Path

PACKAGE = "stablequant"


def imported_modules(file: Path, root: Path) -> set[Path]:
    """Files of the package that ``file`` imports directly, ``root`` being the folder the package lies in."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = set()
    for name in names:
        if name.split(".")[0] == PACKAGE:
            path = root.joinpath(*name.split("."))
            files |= {f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()}
    return files


def all_modules(script: Path, root: Path) -> set[Path]:
    """``script`` and every module of the package that it imports, directly or not."""
    seen: set[Path] = set()
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += imported_modules(file, root)
    return seen


def code_digest(script: Path, root: Path) -> str:
    """Digest of ``script`` and of every module of the package that it imports, directly or not."""
    digest = hashlib.sha256()
    for file in sorted(all_modules(script, root)):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
