"""What is tried next, what is stopped early, and how trials are ranked.

May import `tuning.training` and `tuning.config`.
"""
