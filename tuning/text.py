"""Text for messages."""

from __future__ import annotations


def count_noun(number: int, noun: str) -> str:
    """Return `1 pair` or `2 pairs` for the noun `pair`."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def single_line(text: str) -> str:
    """Return the text without line breaks and repeated spaces."""
    return " ".join(text.split())


def format_bytes(number: int) -> str:
    """Return a number of bytes as `512 MB` or `1.2 GB`, in decimal units."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
