"""Wilson's interval, compared with published values and its definition."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.intervals import wilson_interval


def test_interval_of_93_of_98_clips() -> None:
    low, high = wilson_interval(93, 98)
    assert (round(low, 3), round(high, 3)) == (0.886, 0.978)


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0000, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_published_table_is_reproduced(successes: int, trials: int, expected: tuple[float, float]) -> None:
    """Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998), table I."""
    assert wilson_interval(successes, trials) == pytest.approx(expected, abs=5e-5)


@given(trials=st.integers(1, 500), data=st.data())
def test_bounds_solve_the_score_test(trials: int, data: st.DataObject) -> None:
    """The bounds are the proportions p from which the observed one is 1.96 standard errors of p away."""
    successes = data.draw(st.integers(0, trials))
    share, z = successes / trials, NormalDist().inv_cdf(0.975)
    for bound in wilson_interval(successes, trials):
        if 0 < bound < 1:
            assert abs(share - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / trials), abs=1e-6)


def test_zero_trials_are_rejected() -> None:
    with pytest.raises(ValueError, match="must be an integer not less than 1|n"):
        wilson_interval(0, 0)
