"""What a sweep came to, in its folder and at MLflow, against what an undisturbed one of the same settings came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from mlflow import MlflowClient

from tests.helpers.sweep_runs import Workplace

FIGURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1", "lr")

Figures = dict[float, dict[str, list[float]]]


@dataclass(frozen=True)
class Undisturbed:
    """What every other sweep must come to."""

    leaderboard: pd.DataFrame
    told: Figures

    @classmethod
    def of(cls, place: Workplace, name: str) -> Undisturbed:
        return cls(leaderboard(place, name), told(place, name))


def leaderboard(place: Workplace, name: str) -> pd.DataFrame:
    """All that was told of a sweep's trials except ids and seconds, best first."""
    table = pd.read_csv(place.folder / "runs" / name / "results.csv")
    return table.drop(columns=["id", "seconds"])


def told(place: Workplace, name: str) -> Figures:
    """By learning rate, what MLflow has of each trial: of each figure the values, epoch by epoch."""
    uri = f"sqlite:///{place.folder / 'runs/mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    tracking = json.loads((place.folder / "runs" / name / "mlflow.json").read_text())
    of_parent = f"tags.mlflow.parentRunId = '{tracking['parent_run_id']}'"
    children = client.search_runs([tracking["experiment_id"]], of_parent)
    found = {}
    for child in children:
        assert child.info.status == ("FAILED" if child.data.tags["status"] == "error" else "FINISHED")
        histories = {key: client.get_metric_history(child.info.run_id, key) for key in FIGURES}
        for points in histories.values():
            assert [point.step for point in points] == list(range(1, len(points) + 1)), "each epoch once and in order"
        found[float(child.data.params["lr"])] = {key: [p.value for p in points] for key, points in histories.items()}
    assert len(found) == len(children), "one child a trial"
    return found


def assert_same(place: Workplace, name: str, undisturbed: Undisturbed) -> None:
    """To the last digit."""
    pd.testing.assert_frame_equal(leaderboard(place, name), undisturbed.leaderboard, check_exact=True)
    assert told(place, name) == undisturbed.told


def assert_among(place: Workplace, name: str, rates: Sequence[float], undisturbed: Undisturbed) -> None:
    """The trials of these rates are as among all."""
    tables = [table[table["lr"].isin(rates)] for table in (leaderboard(place, name), undisturbed.leaderboard)]
    found, expected = (table.reset_index(drop=True) for table in tables)
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_exact=True, check_dtype=False)
    assert {rate: told(place, name)[rate] for rate in rates} == {rate: undisturbed.told[rate] for rate in rates}
