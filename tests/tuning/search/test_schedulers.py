from __future__ import annotations

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from tuning.config.load import parse_config
from tuning.search.algorithms import build_search


def test_asha_counts_reported_epochs() -> None:
    sweep = parse_config({})
    scheduler = build_search(sweep).scheduler
    assert isinstance(scheduler, AsyncHyperBandScheduler)
    assert scheduler._time_attr == "epoch"
    assert sweep.search.stops_trials


def test_without_asha_no_trial_is_stopped() -> None:
    sweep = parse_config({"search": {"asha": None}})
    assert isinstance(build_search(sweep).scheduler, FIFOScheduler)
    assert not sweep.search.stops_trials
