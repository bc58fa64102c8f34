"""MLflow: what a sweep records there, and the registry of models.

Events of a sweep are appended to an outbox on disk and sent to MLflow from there, so that trials never wait for a
server. Only this package imports MLflow. May import `tuning.export`, `tuning.search`, `tuning.trial`,
`tuning.training` and `tuning.config`.
"""
