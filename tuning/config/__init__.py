"""The settings of a sweep and of a trial: schema, validation, reading and writing, and the paths in a run folder.

May import `data`, `models`, `tuning.errors` and `tuning.text`, and no other package of `tuning`. `schema/` has a file per section of
the YAML file; `docs/configuration.md` is generated from its docstrings by `document`.
"""
