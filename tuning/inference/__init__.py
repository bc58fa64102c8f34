"""Answers of a champion on clips and long videos, for the command line and the app.

May import `tuning.search`, `tuning.training` and `tuning.config`.
"""
