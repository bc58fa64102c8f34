"""Confidence intervals of proportions."""

from __future__ import annotations

from scipy.stats import binomtest


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion (Wilson 1927, JASA 22:209), which is reliable for few trials.

    Args:
        successes: successful trials.
        trials: all trials, at least 1.

    Raises:
        ValueError: `trials` is 0, or less than `successes`.
    """
    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
