"""The version, exit codes and error handling that the command lines of `data`, `models` and `tuning` share.

It is a module of its own because `data` and `models` import neither each other nor `tuning`. It imports none of them.
"""

from __future__ import annotations

import argparse
import errno
import io
import locale
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` returns."""

VERSION = "1.0.0"

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

_MACHINE_FAULTS = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or ask for more",
    errno.EROFS: "choose another folder for what the command writes",
    errno.EACCES: "change its permissions, or choose another folder",
    errno.EPERM: "change its permissions, or choose another folder",
    errno.EIO: "check the disk",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "remove the links that lead to each other",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "remove the link to itself",
    errno.ESTALE: "check the network disk",
}
"""Errors of the machine that any access to a file can raise, and how to fix each."""


def use_utf8() -> None:
    """Start this program again in Python's UTF-8 mode if the locale has another encoding.

    In the POSIX locale with PYTHONUTF8=0, for example, Python neither reads the name of a clip with an umlaut nor
    writes it to a file. To be called by a program that has done nothing yet.
    """
    encodings = {sys.getfilesystemencoding(), locale.getencoding()}
    if {name.lower().replace("-", "") for name in encodings} == {"utf8"} or os.environ.get("PYTHONUTF8") == "1":
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add the option `--version`, which prints the version and exits."""
    parser.add_argument("--version", action="version", version=f"workout-clips {VERSION}")


def run_command(args: argparse.Namespace, *user_errors: type[Exception], words: Sequence[str] | None = None) -> int:
    """Run `args.command(args)` and return the exit code.

    Args:
        args: the parsed arguments; `args.command` takes them and returns an exit code.
        user_errors: exceptions that the user can fix. Their message is printed on one line, without a traceback.
        words: what was parsed; default: the arguments of this process.

    Returns:
        The command's own exit code, 2 after one of `user_errors`, a fault of the machine such as a full disk or for an
        empty argument, or 130 after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Python escapes what is not UTF-8, such as the name of a file, on stderr only.
        sys.stdout.reconfigure(errors="backslashreplace")
    if empty := _empty_argument(sys.argv[1:] if words is None else words):
        return _refuse(f"{empty} is empty; is a variable of the shell not set?")
    try:
        return args.command(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except user_errors as error:
        return _refuse(str(error))
    except OSError as error:
        if error.errno not in _MACHINE_FAULTS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _refuse(f"{where}{error.strerror}; {_MACHINE_FAULTS[error.errno]}")


def _empty_argument(words: Sequence[str]) -> str:
    """Return the name of the first argument that is empty; empty if none is.

    An empty path would stand for the current folder, and an empty option for its default.
    """
    for before, word in pairwise(["", *words]):
        if not word:
            return before if before.startswith("--") else "an argument"
        if word.startswith("--") and word.endswith("=") and word.count("=") == 1:
            return word[:-1]
    return ""


def _refuse(message: str) -> int:
    # A name in the message may have line breaks.
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    return EXIT_USER_ERROR
