"""The Ray cluster: connect to it, check its nodes, decode and profile on it, and plan how trials fit on it.

May import `tuning.trial`, `tuning.training`, `tuning.config`, `tuning.ports`, `data` and `models`.
"""
