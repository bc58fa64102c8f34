"""What the three command lines share."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commandline import VERSION, run_command
from tests.helpers.processes import PROJECT


@pytest.mark.parametrize("package", ["data", "models", "tuning"])
def test_version_is_printed(package: str) -> None:
    command = [sys.executable, "-m", package, "--version"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == f"workout-clips {VERSION}\n"


def test_shared_module_imports_no_package_of_this_project() -> None:
    loaded = "import sys, commandline; print({'data', 'models', 'tuning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def run_raising(error: BaseException) -> int:
    def command(_: argparse.Namespace) -> int:
        raise error

    return run_command(argparse.Namespace(command=command), LookupError, ArithmeticError)


def test_exit_code_is_the_commands_own() -> None:
    assert run_command(argparse.Namespace(command=lambda args: args.code, code=1)) == 1


def test_user_error_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(ZeroDivisionError("lr is 0; give a positive number")) == 2
    assert capsys.readouterr() == ("", "error: lr is 0; give a positive number\n")


def test_empty_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(command=lambda _: 0)
    for words, name in [(["split", ""], "an argument"), (["--out", ""], "--out"), (["--out="], "--out")]:
        assert run_command(args, words=words) == 2
        assert capsys.readouterr().err == f"error: {name} is empty; is a variable of the shell not set?\n"
    assert run_command(args, words=["train.epochs=3", "--out=a", "--x", "="]) == 0


def test_name_that_is_not_utf8_is_printed() -> None:
    printing = "from commandline import run_command; from argparse import Namespace as N; run_command(N(command=print))"
    code = printing.replace("print)", "lambda _: print(chr(0xDCFF)) or 0)")
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", code], cwd=PROJECT, capture_output=True, check=True)
    assert done.stdout == b"\\udcff\n"


def test_interrupt_is_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EMFILE])
def test_fault_of_the_machine_is_one_line_and_exit_code_2(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(OSError(number, os.strerror(number), "runs/first/split.csv")) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"error: runs/first/split.csv: {os.strerror(number)}; ")
    assert (output.out, output.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("name", ["C", "POSIX"])
def test_names_of_clips_are_read_in_every_locale(name: str, tmp_path: Path) -> None:
    for label in ("Liegestütz", "スクワット"):
        (tmp_path / label).mkdir()
        for number in range(4):
            (tmp_path / label / f"{number}.mp4").write_text(f"{label} {number}")
    done = subprocess.run(
        [sys.executable, "-m", "data", "split", str(tmp_path), "--out", str(tmp_path / "split.csv")],
        cwd=PROJECT,
        env={**os.environ, "LC_ALL": name, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Liegestütz" in done.stdout.decode()
    assert "スクワット/0.mp4" in (tmp_path / "split.csv").read_text(encoding="utf-8")


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(TypeError, match="a bug"):
        run_raising(TypeError("a bug"))
    with pytest.raises(FileNotFoundError):
        run_raising(FileNotFoundError(errno.ENOENT, "a bug", "x"))
