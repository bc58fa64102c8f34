"""The type of a labelled clip."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass

from data.errors import DataError

# Python decodes a file name that is not UTF-8 to surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# A split file can be moved between systems, so absolute Windows paths are rejected on Linux too.
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:[/\\]|(^|[/\\])\.\.([/\\]|$)")


@dataclass(frozen=True, slots=True, order=True)
class Clip:
    """A labelled video file.

    Raises:
        DataError: a field is empty or not printable (see `check_printable`), or the path is absolute or leads out of
            the data folder.
    """

    path: str
    """POSIX path relative to the data folder; identifies the clip."""
    label: str
    """The clip's class: the name of its top-level folder."""
    group: str
    """Clips of one group (one source video or recording) must be in the same split."""

    def __post_init__(self) -> None:
        for field, value in (("path", self.path), ("label", self.label), ("group", self.group)):
            if not value:
                raise DataError(f"clip {self.path!r} has an empty {field}: fill it in")
            check_printable(value)
        if _OUTSIDE.search(self.path):
            raise DataError(f"clip {self.path!r} is outside the data folder: give a path relative to that folder")


def check_printable(name: str) -> None:
    """Check that a name can be printed in one line.

    Raises:
        DataError: it contains a line break, a control character or bytes that are not UTF-8, or the locale can't
            represent it; the message says which character it is.
    """
    found = _UNPRINTABLE.search(name)
    if found is None:
        return
    if _is_utf8_in_another_locale(name):
        raise DataError(
            f"the name {os.fsencode(name).decode()!r} can't be read, since the encoding of this locale is "
            f"{sys.getfilesystemencoding()}: set PYTHONUTF8=1"
        )
    raise DataError(f"the name {name!r} has {_describe_character(found[0])} at position {found.start() + 1}: rename it")


def _is_utf8_in_another_locale(name: str) -> bool:
    if sys.getfilesystemencoding() == "utf-8":
        return False
    try:
        os.fsencode(name).decode()
    except UnicodeError:
        return False
    return True


def _describe_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"the byte 0x{code - 0xDC00:02X}, which is not UTF-8,"
    what = "a line break" if character in "\n\r\x0b\x0c\x85\u2028\u2029" else "a control character"
    return f"{what} (U+{code:04X})"
