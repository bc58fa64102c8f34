"""The settings of a sweep: their schema, reading, validation, and where the files of a run lie.

May import `data` and `models`, and no other package of `tuning`.
"""
