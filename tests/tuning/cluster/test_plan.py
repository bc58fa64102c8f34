from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.sweep_profiles import GPU_NODE, HEAD, LAPTOP, gpu_profile, planned, sweep_profile, trial_profile
from tuning.cluster.profile_task import SweepProfile
from tuning.cluster.time_estimate import format_duration


def test_estimate_is_the_time_of_all_epochs_of_all_trials() -> None:
    one = planned([LAPTOP], space={"sampler": ["imbalanced"]})
    # 100 training clips and 20 validation clips per epoch, and its checkpoint.
    assert one.seconds is not None
    assert 110 < one.seconds < 125
    assert one.ends_early
    two = planned([LAPTOP])
    assert (two.trials, two.max_concurrent) == (2, 2)
    assert two.seconds == one.seconds
    assert planned([LAPTOP], space={"lr": [1e-3, 1e-4]}).seconds == 2 * one.seconds
    three_folds = planned([LAPTOP], folds=3).seconds
    assert three_folds is not None
    assert three_folds > 2.8 * one.seconds
    half = planned([LAPTOP], space={"num_frames": [8], "sampler": ["imbalanced"]}).seconds
    assert half is not None
    assert 0.5 < half / one.seconds < 0.6


def test_estimate_includes_drawn_trials_and_finalists() -> None:
    search: dict[str, Any] = {"algorithm": "random", "trials": 6, "asha": None}
    space: dict[str, Any] = {"lr": {"low": 1e-4, "high": 1e-2}}
    plan = planned([LAPTOP], search=search, space=space)
    final = planned([LAPTOP], search={**search, "finalists": {"top": 2, "seeds": 3}}, space=space)
    assert plan.seconds is not None
    assert final.seconds == 2 * plan.seconds
    assert (final.trials, final.finalists) == (6, 6)
    assert "6 trials, then 6 of finalists, 2 concurrently on 1 node(s)" in final.text()
    assert "less if" not in final.text()
    few = planned([LAPTOP], search={"asha": None, "finalists": {"top": 9, "seeds": 3}})
    assert (few.trials, few.finalists) == (2, 6), "there are no more choices to repeat"


def test_estimate_is_longer_once_trials_fill_the_gpu_that_they_share() -> None:
    # Of 10 epochs, 110 s of a trial compute.
    apart, idle, full = (
        planned([GPU_NODE], sweep_profile(gpu_profile(busy=busy)), resources={"gpus": gpus}).seconds or 0
        for busy, gpus in ((0.9, 1), (0.5, 0.5), (0.9, 0.5))
    )
    assert idle == apart
    assert full - apart == pytest.approx(110 * 0.8)


def test_no_estimate_if_an_architecture_was_not_profiled() -> None:
    plan = planned([LAPTOP], sweep_profile(trial_profile("c3d")))
    assert plan.seconds is None
    assert "estimate" not in plan.text()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "10 s"),
        (61, "70 s"),
        (100, "2 min"),
        (3500, "59 min"),
        (3590, "1 h"),
        (4150, "1 h 10 min"),
        (7200, "2 h"),
        (90000, "25 h"),
    ],
)
def test_durations_are_rounded_up_to_what_an_estimate_can_tell(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_plan_text() -> None:
    assert planned([HEAD, LAPTOP, GPU_NODE], sweep_profile(gpu_profile(busy=0.9))).text().splitlines() == [
        "plan: 2 trials, 2 concurrently on 1 node(s) that fit workers: gpu (2)",
        "      each trial takes 1 worker(s) of 8 CPU and 1 GPU and 1.1 GB",
        "      estimate: at most about 2 min, less if trials are stopped early",
    ]
    none_yet = planned([HEAD], SweepProfile(), resources={"gpus": 1, "max_concurrent": 2})
    assert "2 concurrently on nodes that are yet to join" in none_yet.text()


def test_stored_profile_keeps_its_keys() -> None:
    """Run folders of earlier versions hold `demand.json` with these keys."""
    profile = sweep_profile(trial_profile())
    stored = json.loads(profile.model_dump_json())
    assert list(stored) == ["demands", "failures", "gpu_memory", "import_seconds", "import_memory", "seconds"]
    assert SweepProfile.model_validate(stored) == profile
