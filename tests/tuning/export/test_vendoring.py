"""The copy of the project's modules that a registered model contains."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from tuning.export.vendoring import vendor_module

INSTALLED = {"PIL", "av", "numpy", "pandas", "torch", "torchvision"}
"""Packages that a registered model requires."""


def imported_packages(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return {name.partition(".")[0] for name in names}


def test_copied_modules_import_only_each_other_and_the_required_packages(tmp_path: Path) -> None:
    module = vendor_module("tuning.export.pyfunc", tmp_path, "some_model")
    (package,) = tmp_path.iterdir()
    assert module == f"{package.name}.tuning.export.pyfunc"
    files = sorted(package.rglob("*.py"))
    assert {"data/video/decode.py", "tuning/export/pyfunc.py", "tuning/__init__.py"} <= {
        file.relative_to(package).as_posix() for file in files
    }
    for file in files:
        packages = imported_packages(file.read_text())
        assert packages <= INSTALLED | {package.name} | set(sys.stdlib_module_names), file


def test_package_name_depends_on_the_sources_alone(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first, second, other = (
        vendor_module("tuning.export.pyfunc", tmp_path / "first", "model"),
        vendor_module("tuning.export.pyfunc", tmp_path / "second", "model"),
        vendor_module("data.video.decode", tmp_path / "second", "model"),
    )
    assert first == second
    assert other.partition(".")[0] != first.partition(".")[0]
