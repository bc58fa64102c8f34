"""Text for messages."""

from __future__ import annotations


def count_noun(number: int, noun: str) -> str:
    """Return `1 pair` or `2 pairs` for the noun `pair`."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def single_line(text: str) -> str:
    """Return the text without line breaks and repeated spaces."""
    return " ".join(text.split())
