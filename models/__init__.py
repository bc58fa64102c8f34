"""Architectures, their options and their weights.

`registry` builds a model by name; `archs` has one file per architecture. Imports neither `data` nor `tuning`, nor Ray
nor MLflow.
"""
