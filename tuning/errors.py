"""What all errors of `tuning` that a user can mend have in common."""


class TuningError(ValueError):
    """The message is one line that names the value and the mend: command lines print it without a traceback."""
