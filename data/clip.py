"""A labelled clip."""

from __future__ import annotations

import re
from dataclasses import dataclass

from data.errors import DataError

# Half a surrogate pair is what Python makes of a file name that is not UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# A split file may travel between systems, so what is absolute on Windows is refused on Linux too.
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:[/\\]|(^|[/\\])\.\.([/\\]|$)")


@dataclass(frozen=True, slots=True, order=True)
class Clip:
    """One labelled video file.

    Raises DataError for an empty field, a line break or control character in one, and a path that is absolute
    or leaves the data folder.
    """

    path: str
    """POSIX path relative to the data folder; the clip's id."""
    label: str
    """The class: the name of the top-level sub-folder, as it is spelled there."""
    group: str
    """Clips of one group (one source video, one person) must stay in one split."""

    def __post_init__(self) -> None:
        for field, value in (("path", self.path), ("label", self.label), ("group", self.group)):
            if not value:
                raise DataError(f"clip {self.path!r} has an empty {field}: fill it in")
            check_printable(value)
        if _OUTSIDE.search(self.path):
            raise DataError(f"clip {self.path!r} lies outside the data folder: give its path relative to it")


def check_printable(name: str) -> None:
    """Refuse a name that cannot be shown in one line.

    Raises:
        DataError: it has a line break, a control character or bytes that are not UTF-8.
    """
    if _UNPRINTABLE.search(name):
        raise DataError(
            f"the name {name!r} has a line break, a control character or bytes that are not UTF-8: rename it"
        )
