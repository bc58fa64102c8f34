"""The type of a labelled clip."""

from __future__ import annotations

import re
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
        DataError: it contains a line break, a control character or bytes that are not UTF-8.
    """
    if _UNPRINTABLE.search(name):
        raise DataError(
            f"the name {name!r} has a line break, a control character or bytes that are not UTF-8: rename it"
        )
