"""Benchmarks run rarely: what they import must exist in the packages of today."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))
NOT_REQUIRED = ("lightning",)


def imported_names(source: str) -> Iterator[tuple[str, str | None]]:
    """Yield the module and name of each import, also of those in code that is passed to another Python process."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("import "):
            yield from imported_names(node.value)


def exists(module: str, name: str | None) -> bool:
    try:
        imported = importlib.import_module(module)
        if name is not None and not hasattr(imported, name):
            importlib.import_module(f"{module}.{name}")
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imported_names_exist(file: Path) -> None:
    names = [each for each in imported_names(file.read_text()) if each[0] not in NOT_REQUIRED]
    assert [each for each in names if not exists(*each)] == []


def test_missing_names_would_be_found() -> None:
    source = 'def f():\n    from data.clip import Missing\n_CODE = "import sys, tuning.missing"\n'
    missing = [each for each in imported_names(source) if not exists(*each)]
    assert missing == [("data.clip", "Missing"), ("tuning.missing", None)]
