"""One trial on Ray: the driver function that Tune runs, the worker that trains, and how both of them stop.

Every import of a private Ray module is in `ray_internals`. May import `tuning.training` and `tuning.config`.
"""
