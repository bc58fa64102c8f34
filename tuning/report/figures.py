"""The figures of a sweep's report: each a plot, what it shows in a line, and its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from data.intervals import wilson_interval
from tuning.evaluation.frame_order import ORDERS, OrderProbe
from tuning.evaluation.paired import Comparison
from tuning.report.findings import Findings
from tuning.report.model_plots import (
    Calibration,
    ClassRow,
    Estimate,
    FrameCurve,
    OrderRow,
    RiskCurve,
    confusion,
    frame_order,
    over_frames,
    per_class,
    reliability,
    risk_coverage,
)
from tuning.report.parallel_coordinates import Axis, Settings, parallel_coordinates
from tuning.report.sweep_plots import (
    CostPoint,
    Curve,
    Labelled,
    TimeRow,
    importance,
    learning_curves,
    paired_differences,
    pareto,
    time_shares,
)
from tuning.search.titles import axis_text, axis_title, table_axes
from tuning.search.trial_result import TrialResult, is_usable
from tuning.training.bootstrap import Difference, Interval
from tuning.training.timing import PHASES

_KIND_NAMES = {
    "start": "starting",
    "wait": "waiting for frames",
    "copy": "copying to device",
    "vary": "augmenting",
    "train": "forward, backward",
    "val": "validating",
    "save": "saving",
    "report": "reporting",
}
_METRIC_NAMES = {"val_macro_f1": "validation macro-F1", "val_accuracy": "validation accuracy"}
_SLOWEST = 8


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with its numbers."""

    name: str
    """Of the file of its numbers, without ending."""
    title: str
    svg: Markup
    numbers: pd.DataFrame
    note: str = ""


def figures(found: Findings) -> dict[str, Figure]:
    """All that can be drawn of a sweep, by name; what has too few trials or clips to be drawn is not in it."""
    made: list[Figure | None] = [maker(found) for maker in _MAKERS]
    made += [_pairs(comparison, found) for comparison in found.comparisons]
    return {figure.name: figure for figure in made if figure is not None}


def metric_name(found: Findings) -> str:
    """What decided, for people."""
    return _METRIC_NAMES[found.metric]


def _confusion(found: Findings) -> Figure:
    counts = np.array(found.test["confusion"])
    return _of_matrix(found, "confusion", "Confusion, clips", counts, confusion(counts, found.classes, rates=False))


def _confusion_rates(found: Findings) -> Figure:
    counts = np.array(found.test["confusion"])
    rates = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    svg = confusion(counts, found.classes, rates=True)
    return _of_matrix(found, "confusion_rates", "Confusion, share of the true class", rates, svg)


def _of_matrix(found: Findings, name: str, title: str, values: np.ndarray, svg: Markup) -> Figure:
    table = pd.DataFrame(values, index=pd.Index(found.classes, name="true"), columns=list(found.classes)).reset_index()
    return Figure(name, title, svg, table, "Rows are true classes, columns what the champion said.")


def class_table(found: Findings) -> pd.DataFrame:
    """A row a class: precision, recall with Wilson's interval, F1, test and training clips."""
    rows = []
    for name in found.classes:
        scores = found.test["per_class"][name]
        right = round(scores["recall"] * scores["support"])
        low, high = wilson_interval(right, scores["support"]) if scores["support"] else (0.0, 1.0)
        rows.append(
            {
                "class": name,
                "precision": scores["precision"],
                "recall": scores["recall"],
                "recall_low": low,
                "recall_high": high,
                "f1": scores["f1"],
                "test_clips": scores["support"],
                "training_clips": found.train_clips[name],
                "rare": name in found.rare,
            }
        )
    return pd.DataFrame(rows)


def _per_class(found: Findings) -> Figure:
    table = class_table(found)
    rows = [
        ClassRow(
            row["class"],
            row["precision"],
            Estimate(row["recall"], row["recall_low"], row["recall_high"]),
            row["f1"],
            row["test_clips"],
            row["rare"],
        )
        for row in table.to_dict("records")
    ]
    return Figure("per_class", "Each class on the test clips", per_class(rows), table)


def _reliability(found: Findings) -> Figure:
    fit = found.test_fit
    sides = {"before": fit.before, "after": fit.after}
    plots = [
        Calibration(tuple(b for b in bins if b.clips), ece)
        for bins, ece in ((fit.before, fit.ece_before), (fit.after, fit.ece_after))
    ]
    table = pd.DataFrame(
        [
            {"side": side, "low": b.low, "high": b.high, "confidence": b.confidence, "right": b.right, "clips": b.clips}
            for side, bins in sides.items()
            for b in bins
        ]
    )
    note = f"Temperature {found.calibration.temperature:.2f}, fitted on {found.calibration.clips} validation clips."
    return Figure("reliability", "Are its probabilities right?", reliability(*plots), table, note)


def _risk(found: Findings) -> Figure:
    sides = {"validation": found.validation_fit.risk, "test": found.test_fit.risk}
    curves = [RiskCurve(name, points) for name, points in sides.items()]
    table = pd.DataFrame(
        [
            {"split": name, "threshold": p.threshold, "coverage": p.coverage, "risk": p.risk}
            for name, points in sides.items()
            for p in points
        ]
    )
    return Figure(
        "risk_coverage",
        "Wrong answers, by how many clips it answers",
        risk_coverage(curves, found.calibration.threshold),
        table,
    )


def leaderboard(found: Findings) -> pd.DataFrame:
    """A row a trial, best first, with the axes that tell trials apart."""
    axes = table_axes([row.choice for row in found.trials])
    rows = []
    for place, row in enumerate(found.trials, 1):
        intervals = row.intervals
        rows.append(
            {
                "place": place,
                "trial": row.id,
                "champion": row.id == found.champion.id,
                "stage": row.stage,
                **{axis_title(axis): axis_text(axis, row.choice.get(axis)) for axis in axes},
                "seed": row.seed,
                "val_macro_f1": row.val_macro_f1,
                "val_macro_f1_low": intervals.macro_f1.low if intervals else math.nan,
                "val_macro_f1_high": intervals.macro_f1.high if intervals else math.nan,
                "val_accuracy": row.val_accuracy,
                "epochs": row.epochs,
                "best_epoch": row.best_epoch,
                "seconds": row.seconds,
                "gflops_a_clip": found.flops[row.id] / 1e9,
                "status": row.status,
                "reason": row.reason,
            }
        )
    return pd.DataFrame(rows)


def _scored(found: Findings) -> list[TrialResult]:
    return [row for row in found.trials if is_usable(row) and not math.isnan(getattr(row, found.metric))]


def _parallel(found: Findings) -> Figure | None:
    rows = _scored(found)
    axes = [axis for axis in table_axes([row.choice for row in rows]) if _values(rows, axis) > 1]
    if len(rows) < 2 or not axes:
        return None
    numeric = {axis: _is_numeric(rows, axis) for axis in axes}
    plotted = [Axis(axis_title(a), _scale(rows, a) if numeric[a] else "category") for a in axes]
    settings = [
        Settings(
            tuple(row.choice.get(a) if numeric[a] else axis_text(a, row.choice.get(a)) or "–" for a in axes),
            getattr(row, found.metric),
            row.id == found.champion.id,
        )
        for row in rows
    ]
    name = metric_name(found)
    svg = parallel_coordinates(settings, plotted, name)
    table = leaderboard(found)[["trial", *(axis_title(axis) for axis in axes), found.metric]]
    return Figure("parallel_coordinates", "Settings and scores", svg, table, f"A line a trial, coloured by {name}.")


def _values(rows: Sequence[TrialResult], axis: str) -> int:
    return len({str(row.choice.get(axis)) for row in rows})


def _is_numeric(rows: Sequence[TrialResult], axis: str) -> bool:
    values = [row.choice.get(axis) for row in rows]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _scale(rows: Sequence[TrialResult], axis: str) -> Any:
    values = [float(row.choice[axis]) for row in rows]
    return "log" if min(values) > 0 and max(values) / min(values) >= 10 else "linear"


def _importance(found: Findings) -> Figure | None:
    if not found.importance:
        return None
    rows = [Labelled(axis_title(one.axis), Estimate(one.share, one.low, one.high)) for one in found.importance]
    table = pd.DataFrame([{"axis": o.axis, "share": o.share, "low": o.low, "high": o.high} for o in found.importance])
    note = (
        "Share of the differences between trials that each axis explains (fANOVA; bars span five forests). Trials that "
        "were stopped early count as they stood."
    )
    return Figure("importance", "Which settings mattered", importance(rows, "share of variance"), table, note)


def _learning(found: Findings) -> Figure | None:
    rows = [row for row in found.trials if row.history]
    if not rows:
        return None
    curves = [
        Curve(
            row.title,
            tuple(range(1, len(row.history) + 1)),
            tuple(epoch[found.metric] for epoch in row.history),
            row.status == "stopped",
            row.id == found.champion.id,
        )
        for row in rows
    ]
    table = pd.DataFrame(
        [
            {"trial": row.id, "status": row.status, "epoch": number, **epoch}
            for row in rows
            for number, epoch in enumerate(row.history, 1)
        ]
    )
    return Figure("learning_curves", "Learning curves", learning_curves(curves, metric_name(found)), table)


def _pareto_seconds(found: Findings) -> Figure | None:
    return _pareto(found, "pareto_seconds", "Score against training time", "seconds of training", lambda r: r.seconds)


def _pareto_flops(found: Findings) -> Figure | None:
    return _pareto(
        found, "pareto_flops", "Score against work a clip", "GFLOPs a clip", lambda row: found.flops[row.id] / 1e9
    )


def _pareto(found: Findings, name: str, title: str, label: str, cost: Callable[[TrialResult], float]) -> Figure | None:
    rows = [row for row in _scored(found) if row.intervals is not None and cost(row) > 0]
    if len(rows) < 2:
        return None
    points = [CostPoint(row.title, cost(row), _score(row, found.metric)) for row in rows]
    table = pd.DataFrame(
        [
            {"trial": row.id, label: point.cost, found.metric: point.score.value,
             "low": point.score.low, "high": point.score.high}
            for row, point in zip(rows, points, strict=True)
        ]
    )  # fmt: skip
    return Figure(name, title, pareto(points, label, metric_name(found)), table)


def _score(row: TrialResult, metric: str) -> Estimate:
    assert row.intervals is not None
    interval = row.intervals.macro_f1 if metric == "val_macro_f1" else row.intervals.accuracy
    return _estimate(getattr(row, metric), interval)


def _estimate(value: float, interval: Interval) -> Estimate:
    return Estimate(value, interval.low, interval.high)


def _order(found: Findings) -> Figure:
    rows = [_order_row(each) for each in found.probes]
    table = pd.DataFrame(
        [
            {
                "model": each.title,
                "order": row.order,
                "accuracy": row.accuracy,
                "low": row.interval.low,
                "high": row.interval.high,
                "change": row.lost.value if row.lost else math.nan,
                "change_low": row.lost.interval.low if row.lost else math.nan,
                "change_high": row.lost.interval.high if row.lost else math.nan,
            }
            for each in found.probes
            for row in each.rows
        ]
    )
    note = "On the test clips; intervals by recording. Shuffled is the mean over three orders."
    return Figure("frame_order", "Accuracy by order of frames", frame_order(rows, _chance(found)), table, note)


def _chance(found: Findings) -> float:
    """Always saying the class that the test clips have most of."""
    support = [row["support"] for row in found.test["per_class"].values()]
    return max(support) / sum(support)


def _order_row(each: OrderProbe) -> OrderRow:
    name = f"{each.arch} (champion)" if each.champion else each.arch
    return OrderRow(name, *(_estimate(each.row(order).accuracy, each.row(order).interval) for order in ORDERS))


def _over_frames(found: Findings) -> Figure | None:
    """The best trial of each architecture at each frame count, by validation."""
    best: dict[tuple[str, int], TrialResult] = {}
    for row in _scored(found):
        if row.intervals is not None:
            best.setdefault((row.arch, row.choice["num_frames"]), row)
    if len({frames for _, frames in best}) < 2:
        return None
    curves = []
    for arch in dict.fromkeys(arch for arch, _ in best):
        counts = sorted(frames for name, frames in best if name == arch)
        scores = tuple(_score(best[arch, frames], "val_accuracy") for frames in counts)
        curves.append(FrameCurve(arch, tuple(counts), scores))
    table = pd.DataFrame(
        [
            {"arch": a, "frames": f, "trial": r.id, "val_accuracy": r.val_accuracy}
            for (a, f), r in sorted(best.items(), key=lambda item: item[0])
        ]
    )
    note = "The best trial of each architecture at each frame count, by validation; a trial stopped early counts too."
    return Figure("over_frames", "Accuracy over frame count", over_frames(curves, None), table, note)


def _times(found: Findings) -> Figure | None:
    rows = [row for row in found.trials if row.history]
    if not rows:
        return None
    spent = {row.id: found.seconds(row) for row in rows}
    decoding = sum(process.seconds_decoding for process in found.processes)
    kinds = ["decoding", *(_KIND_NAMES[kind] for kind in PHASES)]
    whole = [decoding, *(sum(each[kind] for each in spent.values()) for kind in PHASES)]
    slowest = sorted(rows, key=lambda row: -row.seconds)[:_SLOWEST]
    bars = [
        TimeRow("the sweep", tuple(whole)),
        *(TimeRow(row.title, (0.0, *(spent[row.id][kind] for kind in PHASES))) for row in slowest),
    ]
    table = pd.DataFrame(
        [
            {"of": "the sweep", **dict(zip(kinds, whole, strict=True))},
            *({"of": row.id, **{_KIND_NAMES[kind]: spent[row.id][kind] for kind in PHASES}} for row in rows),
        ]
    )
    note = f"Seconds of all trials added up, and of the {len(slowest)} slowest." if len(slowest) > 1 else ""
    return Figure("time_shares", "Where the time went", time_shares(bars, kinds), table, note)


def _pairs(comparison: Comparison, found: Findings) -> Figure | None:
    if comparison.macro_f1 is None:
        return None
    pairs = [Labelled(pair.title, _of_difference(pair.macro_f1)) for pair in comparison.pairs]
    favours = (comparison.first, comparison.second)
    svg = paired_differences(
        pairs, Labelled("all pairs", _of_difference(comparison.macro_f1)), favours=favours, x_label="macro-F1"
    )
    table = pd.DataFrame(
        [
            {
                "pair": pair.title,
                comparison.first: pair.first,
                comparison.second: pair.second,
                "epochs": pair.epochs,
                **_columns("macro_f1", pair.macro_f1),
                **_columns("rare_recall", pair.rare_recall),
                "only_first_right": pair.only_first,
                "only_second_right": pair.only_second,
                "mcnemar_p": pair.p_value,
            }
            for pair in comparison.pairs
        ]
    )
    title = f"{comparison.second} minus {comparison.first}"
    return Figure(f"pairs_{comparison.axis}_{comparison.second}", title, svg, table)


def _of_difference(difference: Difference) -> Estimate:
    return _estimate(difference.value, difference.interval)


def _columns(name: str, difference: Difference | None) -> dict[str, float]:
    if difference is None:
        return {}
    low, high = difference.interval.low, difference.interval.high
    return {name: difference.value, f"{name}_low": low, f"{name}_high": high}


_MAKERS: tuple[Callable[[Findings], Figure | None], ...] = (
    _per_class,
    _confusion,
    _confusion_rates,
    _reliability,
    _risk,
    _parallel,
    _importance,
    _learning,
    _pareto_seconds,
    _pareto_flops,
    _order,
    _over_frames,
    _times,
)
