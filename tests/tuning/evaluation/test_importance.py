"""Axes that matter and axes that don't, on scores computed from a known rule."""

from __future__ import annotations

import itertools

import pytest

from tests.helpers.trial_results import trial_result
from tuning.evaluation.importance import axis_importance
from tuning.search.trial_result import TrialResult


def trials(lrs: tuple[float, ...] = (0.1, 0.01, 0.001)) -> list[TrialResult]:
    """The score depends on the architecture, a little on the learning rate, and not on the sampler."""
    return [
        trial_result(
            f"{arch}-{lr}-{sampler}",
            0.4 + 0.4 * (arch == "c3d") + (0.05 if lr == lrs[0] else 0.0),
            arch=arch,
            lr=lr,
            sampler=sampler,
        )
        for arch, lr, sampler in itertools.product(("c3d", "resnet18"), lrs, ("balanced", "imbalanced"))
    ]


def test_axes_are_sorted_by_their_share_of_the_variance() -> None:
    found = axis_importance(trials(), "val_macro_f1")
    assert [one.axis for one in found][:2] == ["arch", "lr"]
    assert {one.axis for one in found} == {"arch", "lr", "sampler"}
    assert sum(one.share for one in found) == pytest.approx(1)
    assert found[0].share > 0.8
    assert found[-1].share < 0.05
    assert all(one.low <= one.share <= one.high for one in found)


def test_too_few_trials_or_equal_scores_give_no_importance() -> None:
    assert axis_importance(trials()[:3], "val_macro_f1") == []
    assert axis_importance([trial_result(str(number), 0.5) for number in range(8)], "val_macro_f1") == []
