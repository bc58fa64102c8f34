"""Compare the results of a sweep, on disk and in MLflow, with those of a sweep that nothing disturbed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from mlflow import MlflowClient

from tests.helpers.sweep_runs import Workplace
from tuning.tracking.local_database import database_uri

METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1", "lr")

MetricHistories = dict[float, dict[str, list[float]]]
"""By learning rate and metric, the values by epoch."""


@dataclass(frozen=True)
class ReferenceSweep:
    """The results of a sweep that nothing disturbed."""

    leaderboard: pd.DataFrame
    metrics: MetricHistories

    @classmethod
    def of(cls, place: Workplace, name: str) -> ReferenceSweep:
        return cls(read_leaderboard(place, name), logged_metrics(place, name))


def read_leaderboard(place: Workplace, name: str) -> pd.DataFrame:
    """The table of a sweep's trials without IDs and seconds, best first."""
    table = pd.read_csv(place.folder / "runs" / name / "results.csv")
    return table.drop(columns=["id", "seconds"])


def logged_metrics(place: Workplace, name: str) -> MetricHistories:
    """The metrics of each trial in MLflow; asserts one child run per trial and each epoch once and in order."""
    uri = database_uri(place.folder / "runs/mlflow.db")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    tracking = json.loads((place.folder / "runs" / name / "mlflow.json").read_text())
    of_parent = f"tags.mlflow.parentRunId = '{tracking['parent_run_id']}'"
    children = client.search_runs([tracking["experiment_id"]], of_parent)
    metrics = {}
    for child in children:
        assert child.info.status == ("FAILED" if child.data.tags["status"] == "error" else "FINISHED")
        histories = {key: client.get_metric_history(child.info.run_id, key) for key in METRICS}
        for points in histories.values():
            assert [point.step for point in points] == list(range(1, len(points) + 1)), "each epoch once and in order"
        metrics[float(child.data.params["lr"])] = {key: [p.value for p in points] for key, points in histories.items()}
    assert len(metrics) == len(children), "one child run per trial"
    return metrics


def assert_same_results(place: Workplace, name: str, reference: ReferenceSweep) -> None:
    """Assert that all trials are equal to those of the reference, to the last digit."""
    pd.testing.assert_frame_equal(read_leaderboard(place, name), reference.leaderboard, check_exact=True)
    assert logged_metrics(place, name) == reference.metrics


def assert_same_trials(place: Workplace, name: str, rates: Sequence[float], reference: ReferenceSweep) -> None:
    """Assert that the trials with these learning rates are equal to those of the reference."""
    tables = [table[table["lr"].isin(rates)] for table in (read_leaderboard(place, name), reference.leaderboard)]
    found, expected = (table.reset_index(drop=True) for table in tables)
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_exact=True, check_dtype=False)
    metrics = logged_metrics(place, name)
    assert {rate: metrics[rate] for rate in rates} == {rate: reference.metrics[rate] for rate in rates}
