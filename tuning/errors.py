"""Errors that a user can fix, and one-line texts of other errors."""

from __future__ import annotations


class TuningError(ValueError):
    """Base of the errors that a user can fix.

    The message is one line that says what is wrong and how to fix it; the command line prints it without a traceback.
    """


class ConfigError(TuningError):
    """A setting that can't be used."""


def error_line(error: BaseException, max_chars: int) -> str:
    """Return the message of an error in one line, cut to `max_chars` characters.

    For an error that Ray passes on from another node, it is the message of its cause.
    """
    return " ".join(str(getattr(error, "cause", None) or error).split())[:max_chars]


def last_line(text: str) -> str:
    """Return the last non-empty line of a traceback, which names the exception, cut to 300 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
