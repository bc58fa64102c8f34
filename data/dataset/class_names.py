"""Class names that look alike: `push_up` and `Push up`, or one name in two codings of its accents."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

from data.errors import DataError

_SEPARATORS = re.compile(r"[\s_\u2010-\u2015-]+")


def alike_key(name: str) -> str:
    """Return what names that look alike have in common.

    That is the name in Unicode's form NFC and without case; runs of spaces, underscores and hyphens are one space.
    """
    folded = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", _SEPARATORS.sub(" ", folded).strip())


def alike_classes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the sets of two or more names that look alike, sorted."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        found[alike_key(name)].add(name)
    return sorted(tuple(sorted(same)) for same in found.values() if len(same) > 1)


def merged_names(clip_counts: Mapping[str, int], *, merge: bool) -> dict[str, str]:
    """Return the name to use for each class whose name looks like another's: that of the class with the most clips.

    Args:
        clip_counts: the number of clips of each class.
        merge: whether such classes are one class.

    Raises:
        DataError: there are such classes and `merge` is false.
    """
    alike = alike_classes(clip_counts)
    if alike and not merge:
        named = "; ".join(_named(same) for same in alike[:3]) + ("; …" if len(alike) > 3 else "")
        raise DataError(
            f"class names look alike: {named}; give --merge-classes to make one class of them, or rename one"
        )
    return {name: _most_common(same, clip_counts) for same in alike for name in same}


def _most_common(names: Iterable[str], clip_counts: Mapping[str, int]) -> str:
    return max(names, key=lambda name: (clip_counts[name], unicodedata.is_normalized("NFC", name)))


def _named(names: tuple[str, ...]) -> str:
    text = " and ".join(map(repr, names))
    composed = {unicodedata.normalize("NFC", name) for name in names}
    return f"{text} (accents coded in two ways)" if len(composed) < len(names) else text
