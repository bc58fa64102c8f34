"""A typing error is refused before packages are imported that take seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.refusals import REFUSED_COMMANDS, make_place
from tests.helpers.processes import PROJECT, succeeded

# Every command runs in one process: what one imports is seen in the rows of those after it.
SCRIPT = """
import contextlib, importlib, io, json, sys

def run(package, *arguments):
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            code = importlib.import_module(f"{package}.__main__").main(arguments)
        except SystemExit as end:
            code = end.code
    slow = {"torch", "ray", "mlflow", "pandas", "scipy", "sklearn", "matplotlib"} & set(sys.modules)
    return [code, sorted(slow), output.getvalue(), errors.getvalue().splitlines()[-1:]]

print(json.dumps([run(*command) for command in json.loads(sys.argv[1])]))
"""


def test_typing_errors_are_refused_without_slow_imports(tmp_path: Path) -> None:
    make_place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(REFUSED_COMMANDS)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    for command, (code, slow, output, errors) in zip(REFUSED_COMMANDS, json.loads(succeeded(done).stdout), strict=True):
        assert (code, slow, output) == (2, [], ""), (command, errors)
        assert "error: " in errors[0], command
    assert sorted(tmp_path.rglob("*")) == before
