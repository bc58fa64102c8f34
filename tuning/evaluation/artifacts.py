"""What the test split says of a champion, as the files of a run's `test/`."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.intervals import wilson_interval
from data.store.build_report import FailedClip
from tuning.errors import TuningError
from tuning.evaluation.confusion_plot import plot_confusion
from tuning.evaluation.frame_order import ORDERS, OrderProbe, OrderRow
from tuning.training.bootstrap import Difference, Interval, ScoreIntervals
from tuning.training.metrics import Scores
from tuning.training.predictions import Predictions

METRICS, PREDICTIONS, CONFUSION = "metrics.json", "predictions.csv", "confusion_matrix.png"
FRAME_ORDER = "frame_order.csv"


class TestReportError(TuningError):
    """A test report that can't be read."""

    __test__ = False  # Not a test case, whatever pytest thinks of its name.


@dataclass(frozen=True, slots=True)
class AveragedScores:
    """What comes of the mean over several views and crops of each clip."""

    views: int
    """Views of a clip in time."""
    crops: int
    """Squares of each view's frames."""
    scores: Scores
    """Of each clip by the mean of the logits of all `views * crops`."""


@dataclass(frozen=True, slots=True)
class TestReport:
    """What the test split says of the champion."""

    __test__ = False  # Not a test case, whatever pytest thinks of its name.

    scores: Scores
    """Of a single view and the centre crop."""
    intervals: ScoreIntervals
    """Of these scores, over groups of clips."""
    averaged: AveragedScores | None
    """Of several views and crops, where these were asked for."""
    folder: Path
    """Holds `metrics.json`, `predictions.csv`, `frame_order.csv` and `confusion_matrix.png`."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The champion's answers to the test clips."""

    predictions: Predictions
    probabilities: np.ndarray
    """float `(N, K)`, tempered."""
    groups: list[str]
    """Of each clip."""


@dataclass(frozen=True, slots=True)
class Tested:
    """Where an answer comes from."""

    classes: tuple[str, ...]
    split_sha256: str
    checkpoint_sha256: str
    failed: tuple[FailedClip, ...]
    """Test clips that give no frames."""


def write_test_report(report: TestReport, tested: Tested, answers: Answers, probes: Sequence[OrderProbe]) -> None:
    """All files or none: the folder is filled aside, then put in place."""
    aside = report.folder.with_name(report.folder.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    (aside / METRICS).write_text(json.dumps(_metrics(report, tested), indent=1) + "\n")
    _write_predictions(aside / PREDICTIONS, answers, tested.classes)
    _write_probes(aside / FRAME_ORDER, probes)
    plot_confusion(report.scores, tested.classes, aside / CONFUSION)
    shutil.rmtree(report.folder, ignore_errors=True)
    aside.rename(report.folder)


def _metrics(report: TestReport, tested: Tested) -> dict[str, Any]:
    scores = report.scores
    return {
        **_summary(scores),
        "accuracy_group_95": asdict(report.intervals.accuracy),
        "macro_f1_group_95": asdict(report.intervals.macro_f1),
        "per_class": {row.label: {k: v for k, v in asdict(row).items() if k != "label"} for row in scores.per_class},
        "confusion": scores.confusion,
        "classes": tested.classes,
        "num_clips": scores.num_clips,
        "averaged": _averaged_summary(report.averaged) if report.averaged else None,
        "failed_clips": {clip.path: clip.reason for clip in tested.failed},
        "split_sha256": tested.split_sha256,
        "checkpoint_sha256": tested.checkpoint_sha256,
    }


def _averaged_summary(averaged: AveragedScores) -> dict[str, Any]:
    return {"views": averaged.views, "crops": averaged.crops, **_summary(averaged.scores)}


def _summary(scores: Scores) -> dict[str, Any]:
    correct = round(scores.accuracy * scores.num_clips)
    return {
        "accuracy": scores.accuracy,
        "accuracy_wilson_95": wilson_interval(correct, scores.num_clips),
        "macro_f1": scores.macro_f1,
    }


def _write_predictions(file: Path, answers: Answers, classes: Sequence[str]) -> None:
    predicted = answers.probabilities.argmax(1)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["clip", "label", "group", "predicted", "probability", *(f"p({name})" for name in classes)])
        for clip, label, group, best, row in zip(
            answers.predictions.clip_ids,
            answers.predictions.labels.tolist(),
            answers.groups,
            predicted.tolist(),
            answers.probabilities,
            strict=True,
        ):
            shown = [f"{p:.9g}" for p in row.tolist()]
            writer.writerow([clip, classes[label], group, classes[best], shown[best], *shown])


def read_predictions(folder: Path, classes: Sequence[str]) -> Answers:
    """The answers as they were written; logits are the logarithms of the tempered probabilities.

    Raises:
        TestReportError: there are none, or not of these classes.
    """
    table = _read(folder / PREDICTIONS)
    try:
        probabilities = table[[f"p({name})" for name in classes]].to_numpy(np.float64)
        places = {name: place for place, name in enumerate(classes)}
        labels = np.array([places[label] for label in table["label"]])
        clips, groups = table["clip"].tolist(), table["group"].tolist()
    except (KeyError, ValueError) as error:
        raise TestReportError(f"{folder / PREDICTIONS} is damaged or of other classes ({error})") from None
    import torch

    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return Answers(Predictions(clips, torch.from_numpy(labels), torch.from_numpy(logits)), probabilities, groups)


_ORDER_COLUMNS = ("title", "arch", "weights", "champion", "order", "accuracy", "low", "high")
_CHANGE_COLUMNS = ("change", "change_low", "change_high")


def _write_probes(file: Path, probes: Sequence[OrderProbe]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_ORDER_COLUMNS, *_CHANGE_COLUMNS])
        for each in probes:
            for row in each.rows:
                change = ["", "", ""] if row.lost is None else _figures(row.lost.value, row.lost.interval)
                own = [each.title, each.arch, each.weights, int(each.champion), row.order]
                writer.writerow([*own, *_figures(row.accuracy, row.interval), *change])


def _figures(value: float, interval: Interval) -> list[float]:
    return [value, interval.low, interval.high]


def read_probes(folder: Path) -> list[OrderProbe]:
    """The probes as they were written, the champion's first.

    Raises:
        TestReportError: there are none.
    """
    table = _read(folder / FRAME_ORDER)
    try:
        return [
            OrderProbe(title, arch, weights, champion == "1", tuple(_order_row(rows, order) for order in ORDERS))
            for (title, arch, weights, champion), rows in table.groupby(list(_ORDER_COLUMNS[:4]), sort=False)
        ]
    except (KeyError, ValueError, IndexError) as error:
        raise TestReportError(f"{folder / FRAME_ORDER} is damaged ({error})") from None


def _order_row(rows: pd.DataFrame, order: Any) -> OrderRow:
    row = rows[rows["order"] == order].iloc[0]
    lost = None
    if row["change"]:
        lost = Difference(float(row["change"]), Interval(float(row["change_low"]), float(row["change_high"])))
    return OrderRow(order, float(row["accuracy"]), Interval(float(row["low"]), float(row["high"])), lost)


def _read(file: Path) -> pd.DataFrame:
    """Every cell as it stands: a class may be called `1` or `nan`."""
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise TestReportError(f"{file} can't be read ({error}): evaluate the run anew") from None
