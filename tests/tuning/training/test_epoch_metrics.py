"""Metrics of an epoch."""

from __future__ import annotations

import math

import pytest
import torch

from tuning.training.epoch import EpochTotals
from tuning.training.epoch_metrics import EPOCH_METRICS, epoch_metrics
from tuning.training.predictions import Predictions
from tuning.training.timing import TIME_METRICS

TOTALS = [EpochTotals(loss=6.0, correct=2, clips=4, micro_batch=4), EpochTotals(3.0, 1, 2, 4)]


def metrics() -> dict[str, float]:
    # Right, right, wrong; each with probability 1/3 of each class but for the order of the logits.
    logits = torch.tensor([[1e-6, 0, 0], [0, 1e-6, 0], [1e-6, 0, 0]])
    predictions = Predictions(["a", "b", "c"], torch.tensor([0, 1, 2]), logits)
    return epoch_metrics(TOTALS, predictions, ("x", "y", "z"), lr=0.01, micro_batch=4)


def test_every_metric_is_named_so_that_mlflow_gets_it() -> None:
    assert {*metrics(), "seconds", *TIME_METRICS} == set(EPOCH_METRICS)


def test_training_metrics_are_means_over_the_clips_of_all_folds() -> None:
    assert (metrics()["train_loss"], metrics()["train_accuracy"]) == (9 / 6, 3 / 6)


def test_validation_metrics() -> None:
    assert metrics()["val_accuracy"] == pytest.approx(2 / 3)
    assert metrics()["val_macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert metrics()["val_loss"] == pytest.approx(math.log(3), abs=1e-4)
