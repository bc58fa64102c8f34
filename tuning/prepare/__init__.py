"""From settings to what trials can start on: scan, decode and split the clips, find weights, check outputs, nodes.

Unusable input is refused here. May import `tuning.cluster`, `tuning.tracking`, `tuning.training`, `tuning.config`,
`data` and `models`.
"""
