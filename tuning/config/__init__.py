"""The settings of a sweep and of a trial: schema, validation, reading and writing, and the paths in a run folder.

`schema/` has a file per section of the YAML file; `document` generates `docs/configuration.md` from its docstrings.
May import `data`, `models`, `tuning.errors` and `tuning.text`, and no other package of `tuning`.
"""
