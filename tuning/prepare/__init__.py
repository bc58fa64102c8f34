"""From settings to what trials can start on: scan, decode and split the clips, find weights, check the nodes.

Unusable input is refused here. May import `tuning.cluster`, `tuning.training`, `tuning.config`, `data` and `models`.
"""
