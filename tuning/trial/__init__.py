"""One trial under Ray: the driver that Tune runs, the worker that trains, and how both stop.

Every import of a private Ray module is in `ray_internals`. May import `tuning.training` and `tuning.config`.
"""
