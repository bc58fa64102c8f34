"""The one kind of error that a user of `models` can mend."""


class ModelError(ValueError):
    """An architecture, option or weight file that can't be used as asked.

    The message is one line that names the value and the mend: command lines print it without a traceback.
    """
