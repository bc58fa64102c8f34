"""The search for the best trial: search algorithms, scheduler, results of trials and their ranking.

May import `tuning.training`, `tuning.config`, `tuning.errors` and Ray Tune.
"""
