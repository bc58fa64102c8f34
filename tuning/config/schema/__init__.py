"""The settings of a sweep, one file per section of the YAML file.

May import `data` and `tuning.config.redact`. The sections know nothing of each other: what two of them
say together is checked in `tuning.config.validate`.
"""
