"""Train and validate the models of one trial in plain PyTorch, and score their predictions.

Knows nothing of Ray or MLflow. May import `tuning.config`, `data` and `models`.
"""
