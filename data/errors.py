"""The error for everything in `data` that its user can fix."""


class DataError(ValueError):
    """A folder, clip, group list, split or store can't be used as it is.

    The message is one line that names the bad value and how to fix it; command lines print it without a traceback.
    """
