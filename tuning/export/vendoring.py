"""Modules of this project as a package that others can carry: the very sources, under another name."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_OURS = ("data", "models", "tuning")


def carry(module: str, folder: Path, prefix: str) -> str:
    """Write a package of a module with all of ours that it imports; nothing in it goes by a name of ours.

    Args:
        module: such as `tuning.export.pyfunc`.
        folder: where the package's folder is made.
        prefix: of the package's name; the rest is a digest of what is in it, so that two versions can be loaded into
            one process.

    Returns:
        The new name of the module.
    """
    sources = _closure(module)
    names = {name: name.replace(".", "_") for name in sources}
    digest = hashlib.sha256("\0".join(sources[name] for name in sorted(sources)).encode()).hexdigest()
    package = f"{prefix}_{digest[:12]}"
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text('"""Carried by a model, which was trained and tested with it."""\n')
    for name, source in sources.items():
        (folder / package / f"{names[name]}.py").write_text(_renamed(source, names, package))
    return f"{package}.{names[module]}"


def _closure(module: str) -> dict[str, str]:
    sources: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in sources:
            sources[name] = _ROOT.joinpath(*name.split(".")).with_suffix(".py").read_text()
            todo += [node.module for node in _imports(sources[name]) if node.module]
    return sources


def _imports(source: str) -> list[ast.ImportFrom]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] in _OURS for alias in node.names), "only `from … import` is carried"
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _OURS:
            found.append(node)
    return found


def _renamed(source: str, names: dict[str, str], package: str) -> str:
    lines = source.splitlines()
    for node in _imports(source):
        assert node.module is not None
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line.replace(f"from {node.module} ", f"from {package}.{names[node.module]} ", 1)
    return "\n".join(lines) + "\n"
