"""The one kind of error that a user of `data` can mend."""


class DataError(ValueError):
    """A folder, clip, group list or split that can't be used as it is.

    The message is one line that names the value and the mend: command lines print it without a traceback.
    """
