"""The champion on clips and long videos: for the test split, `predict`, the report and the app.

May import `tuning.search`, `tuning.training` and `tuning.config`.
"""
