"""Ways in which a CSV file of clips is broken, or unusual and right."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

Change = Callable[[str], str | bytes]
"""Takes the right text and returns the text or the bytes to write."""

RIGHT: dict[str, Change] = {
    "as it is": lambda text: text,
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "Windows line ends": lambda text: text.replace("\n", "\r\n"),
    "old Mac line ends": lambda text: text.replace("\n", "\r"),
    "no line end at the end": lambda text: text.rstrip("\n"),
    "blank lines": lambda text: text.replace("\n", "\n\n"),
    "quoted cells": lambda text: "\n".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()
    ),
    "another column": lambda text: "\n".join(f"{line},{number}" for number, line in enumerate(text.splitlines())),
    "columns in another order": lambda text: "\n".join(
        ",".join(reversed(line.split(","))) for line in text.splitlines()
    ),
    "rows in another order": lambda text: "\n".join([text.splitlines()[0], *text.splitlines()[:0:-1]]),
}
"""Files that are accepted."""

WRONG: dict[str, tuple[Change, str]] = {
    "empty": (lambda text: "", "no column"),
    "one line end": (lambda text: "\n", "no column"),
    "spaces": (lambda text: "   \n  \n", "no column"),
    "without a header": (lambda text: text.partition("\n")[2], "no column"),
    "semicolons": (lambda text: text.replace(",", ";"), "no column"),
    "tabs": (lambda text: text.replace(",", "\t"), "no column"),
    "capital header": (lambda text: text.partition("\n")[0].upper() + "\n" + text.partition("\n")[2], "no column"),
    "without the column path": (lambda text: text.replace("path,", "file,", 1), "no column"),
    "without the column group": (lambda text: text.replace("group", "source", 1), "no column"),
    "JSON": (lambda text: '[{"path": "a.mp4", "group": "1"}]', "no column"),
    "HTML": (lambda text: "<!doctype html>\n<p>Not found</p>\n", "no column"),
    "UTF-16": (lambda text: text.encode("utf-16"), "not in UTF-8"),
    "UTF-16 without a mark": (lambda text: text.encode("utf-16-le"), "no column"),
    "Latin-1": (lambda text: text.replace("\n", "é\n").encode("latin-1"), "not in UTF-8"),
    "random bytes": (lambda text: bytes(range(256)) * 4, "not in UTF-8"),
    "compressed": (lambda text: b"\x1f\x8b\x08\x00\xde\xad\xbe\xef" * 20, "not in UTF-8"),
    "open quote": (lambda text: text + '"squat/9.mp4', "not CSV"),
    "huge cell": (lambda text: text + "x" * 200_000 + ",1\n", "not CSV"),
    "more cells than columns": (lambda text: text.replace("\n", ",1,2,3\n").replace(",1,2,3", "", 1), "more cells"),
    "cells missing": (lambda text: text + "squat/9.mp4\n", "is empty"),
    "an empty cell": (
        lambda text: re.sub(r"(squat/1\.mp4),[^,\n]+", r"\1,  ", text),
        "empty",
    ),
    "an empty path": (lambda text: text.replace("squat/1.mp4,", ",", 1), "is empty"),
    "a control character": (lambda text: text.replace("squat/1.mp4,", "squat/1.mp4,\x07", 1), "control character"),
    "a NUL": (lambda text: text.replace("squat/1.mp4,", "squat/1.mp4,\0", 1), "control character"),
    "a line break in a cell": (
        lambda text: re.sub(r"(squat/1\.mp4),[^,\n]+", r"\1,'a\nb'", text).replace("'", '"'),
        "line break",
    ),
    "a column twice": (lambda text: text.replace("\n", ",x\n").replace(",x", ",path", 1), "twice"),
}
"""Files that are refused, with a part of the message."""


def special_files(folder: Path) -> dict[str, str]:
    """Create things in `folder` that are not files of text, and return their paths by name."""
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "fifo.csv")
    (folder / "dangling.csv").symlink_to("nowhere.csv")
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "file").touch()
    return {
        "folder": "folder.csv",
        "FIFO": "fifo.csv",
        "dangling link": "dangling.csv",
        "link to itself": "loop.csv",
        "missing": "none.csv",
        "missing folder": "none/none.csv",
        "below a file": "file/none.csv",
        "name too long": "x" * 300 + ".csv",
        "device": "/dev/null",
        "unreadable": "/proc/self/mem",
    }


SPECIAL = (
    *("folder", "FIFO", "dangling link", "link to itself", "missing", "missing folder", "below a file"),
    *("name too long", "device", "unreadable"),
)
