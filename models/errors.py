"""The error that `models` raises for users."""


class ModelError(ValueError):
    """An architecture, option or weight file cannot be used.

    The message is one line that names the bad value and how to fix it. Command lines print it without a traceback.
    """
