"""A public name is defined once in the project, so that a search for it finds one place."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

ONE_PER_FILE = {
    "ARCHITECTURE",  # of each file in models/archs
    "T",  # a type variable
    "add_parser",  # of each command
    "execute",  # of each command
    "main",  # of each program
}


def public_names(source: str) -> Iterator[str]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_"))


def test_public_names_are_unique() -> None:
    files = defaultdict(list)
    for package in ("data", "models", "tuning"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for name in public_names(file.read_text()):
                files[name].append(str(file.relative_to(ROOT)))
    assert len(files) > 500, "the packages were not found"
    assert {name: where for name, where in files.items() if len(where) > 1 and name not in ONE_PER_FILE} == {}
