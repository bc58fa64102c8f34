"""How far a proportion counted on few clips may lie from the true one."""

from __future__ import annotations

from scipy.stats import binomtest


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion, which holds its level with few trials (Wilson 1927, JASA 22:209).

    Raises ValueError for no trials, or more successes than trials.
    """
    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
