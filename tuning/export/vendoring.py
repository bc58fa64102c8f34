"""Copy modules of this project into a package with another name, which runs without the project."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PROJECT_PACKAGES = ("data", "models", "tuning")


def vendor_module(module: str, folder: Path, prefix: str) -> str:
    """Write a package with a copy of a module and all modules of the project that it imports.

    The package has the project's folder structure; only imports are changed, so that they refer to the copies.

    Args:
        module: name of the module, such as `tuning.export.pyfunc`.
        folder: folder in which the package's folder is created.
        prefix: first part of the package's name. The rest is a digest of the sources, so that two versions can be
            loaded into one process.

    Returns:
        The name of the module's copy.
    """
    sources = _read_with_imports(module)
    digest = hashlib.sha256("\0".join(f"{name}\0{sources[name]}" for name in sorted(sources)).encode()).hexdigest()
    package = f"{prefix}_{digest[:12]}"
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text('"""The code with which the model was tested."""\n')
    for name, source in sources.items():
        file = folder / package / _module_file(name).relative_to(_ROOT)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_with_renamed_imports(source, package))
    return f"{package}.{module}"


def _read_with_imports(module: str) -> dict[str, str]:
    """Return the source of a module, of the project's modules that it imports, and of the packages they are in."""
    sources: dict[str, str] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in sources:
            continue
        sources[name] = _module_file(name).read_text()
        for node in _project_imports(sources[name]):
            pending += [str(node.module), *_imported_submodules(node)]
        if "." in name:
            pending.append(name.rpartition(".")[0])
    return sources


def _module_file(name: str) -> Path:
    path = _ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _project_imports(source: str) -> Iterator[ast.ImportFrom]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if _is_project(alias.name)]
            assert not names, f"`import {names[0]}` can't be vendored: write `from … import …`"
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports can't be vendored"
            if _is_project(str(node.module)):
                yield node


def _is_project(module: str) -> bool:
    return module.partition(".")[0] in _PROJECT_PACKAGES


def _imported_submodules(node: ast.ImportFrom) -> list[str]:
    """Return the modules that `from PACKAGE import MODULE` imports."""
    names = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if _module_file(name).is_file()]


def _with_renamed_imports(source: str, package: str) -> str:
    lines = source.splitlines()
    for node in _project_imports(source):
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line.replace(f"from {node.module} ", f"from {package}.{node.module} ", 1)
    return "\n".join(lines) + "\n"
