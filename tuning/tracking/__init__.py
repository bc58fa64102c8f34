"""MLflow: events of a sweep are appended to an outbox on disk and sent to the tracking server from there.

May import `tuning.export`, `tuning.search`, `tuning.training` and `tuning.config`.
"""
