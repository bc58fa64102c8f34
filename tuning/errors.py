"""What all errors of `tuning` that a user can mend have in common."""


class TuningError(ValueError):
    """The message is one line that names the value and the mend: command lines print it without a traceback."""


def in_a_line(error: BaseException, most: int) -> str:
    """An error's message, or that of what caused it on another node, in so many characters at most."""
    return " ".join(str(getattr(error, "cause", None) or error).split())[:most]


def last_line(text: str) -> str:
    """What a traceback ends with, which is what was raised."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
