"""The Ray cluster: connect, check its nodes, decode and profile on it, and plan how trials fit.

May import `tuning.trial`, `tuning.training` and `tuning.config`.
"""
