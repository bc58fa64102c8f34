"""Train and validate the models of one trial in plain PyTorch, and score their predictions.

Imports neither Ray nor MLflow. May import `tuning.config`, `data` and `models`.
"""
