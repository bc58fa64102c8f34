"""The files of a run's `test/` folder: metrics, predictions, accuracy by frame order, confusion matrix."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from data.files import write_folder_atomically
from tuning.evaluation.confusion_png import write_confusion_png
from tuning.evaluation.frame_order import ORDERS, OrderAccuracy, OrderProbe
from tuning.training.bootstrap import Difference, Interval
from tuning.training.evaluation_metrics import METRICS_FILE, EvaluationError, EvaluationMetrics
from tuning.training.predictions import Predictions

PREDICTIONS_FILE = "predictions.csv"
FRAME_ORDER_FILE = "frame_order.csv"
CONFUSION_FILE = "confusion_matrix.png"


@dataclass(frozen=True, slots=True)
class CalibratedPredictions:
    """The champion's predictions for the test clips, with calibrated probabilities."""

    predictions: Predictions
    probabilities: np.ndarray
    """Softmax with temperature, float `(N, K)`."""
    groups: list[str]
    """Group of each clip."""


def write_artifacts(
    folder: Path, metrics: EvaluationMetrics, predicted: CalibratedPredictions, probes: Sequence[OrderProbe]
) -> None:
    """Write all files of `test/`, or none."""
    scores = f"accuracy {metrics.accuracy:.3f}, macro-F1 {metrics.macro_f1:.3f}, {metrics.num_clips} clips"
    with write_folder_atomically(folder) as files:
        metrics.save(files / METRICS_FILE)
        _write_predictions(files / PREDICTIONS_FILE, predicted, metrics.classes)
        _write_frame_order(files / FRAME_ORDER_FILE, probes)
        write_confusion_png(metrics.confusion, metrics.classes, f"test: {scores}", files / CONFUSION_FILE)


def _write_predictions(file: Path, predicted: CalibratedPredictions, classes: Sequence[str]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["clip", "label", "group", "predicted", "probability", *(f"p({name})" for name in classes)])
        for clip, label, group, row in zip(
            predicted.predictions.clip_ids,
            predicted.predictions.labels.tolist(),
            predicted.groups,
            predicted.probabilities,
            strict=True,
        ):
            best, texts = int(row.argmax()), [f"{p:.9g}" for p in row.tolist()]
            writer.writerow([clip, classes[label], group, classes[best], texts[best], *texts])


def read_predictions(folder: Path, classes: Sequence[str]) -> CalibratedPredictions:
    """Read `predictions.csv`; the logits are the logarithms of the calibrated probabilities.

    Raises:
        EvaluationError: the file is missing, damaged, or has other classes.
    """
    table = _read_csv(folder / PREDICTIONS_FILE)
    try:
        probabilities = table[[f"p({name})" for name in classes]].to_numpy(np.float64)
        index = {name: number for number, name in enumerate(classes)}
        labels = torch.tensor([index[label] for label in table["label"]], dtype=torch.int64)
        clips, groups = table["clip"].tolist(), table["group"].tolist()
    except (KeyError, ValueError) as error:
        raise EvaluationError(f"{folder / PREDICTIONS_FILE} is damaged or has other classes ({error})") from None
    logits = torch.from_numpy(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))
    return CalibratedPredictions(Predictions(clips, labels, logits), probabilities, groups)


_MODEL_COLUMNS = ("title", "arch", "weights", "champion")
_SCORE_COLUMNS = ("order", "accuracy", "low", "high", "change", "change_low", "change_high")


def _write_frame_order(file: Path, probes: Sequence[OrderProbe]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_MODEL_COLUMNS, *_SCORE_COLUMNS])
        for probe in probes:
            model = [probe.title, probe.arch, probe.weights, int(probe.champion)]
            for row in probe.rows:
                accuracy = [row.accuracy, row.interval.low, row.interval.high]
                change: list[Any] = ["", "", ""]
                if row.change:
                    change = [row.change.value, row.change.interval.low, row.change.interval.high]
                writer.writerow([*model, row.order, *accuracy, *change])


def read_frame_order(folder: Path) -> list[OrderProbe]:
    """Read `frame_order.csv`, the champion's probe first.

    Raises:
        EvaluationError: the file is missing or damaged.
    """
    table = _read_csv(folder / FRAME_ORDER_FILE)
    try:
        return [
            OrderProbe(title, arch, weights, champion == "1", tuple(_order_accuracy(rows, order) for order in ORDERS))
            for (title, arch, weights, champion), rows in table.groupby(list(_MODEL_COLUMNS), sort=False)
        ]
    except (KeyError, ValueError, IndexError) as error:
        raise EvaluationError(f"{folder / FRAME_ORDER_FILE} is damaged ({error})") from None


def _order_accuracy(rows: pd.DataFrame, order: Any) -> OrderAccuracy:
    row = rows[rows["order"] == order].iloc[0]
    change = None
    if row["change"]:
        change = Difference(float(row["change"]), Interval(float(row["change_low"]), float(row["change_high"])))
    return OrderAccuracy(order, float(row["accuracy"]), Interval(float(row["low"]), float(row["high"])), change)


def _read_csv(file: Path) -> pd.DataFrame:
    """Read every cell as text: a class may be named `1` or `nan`."""
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{file} can't be read ({error}); run evaluate again") from None
