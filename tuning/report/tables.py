"""The tables of the report, which are also its CSV files: trials, classes, mistakes, label issues."""

from __future__ import annotations

import math

import pandas as pd

from data.intervals import wilson_interval
from tuning.report.findings import SweepFindings
from tuning.search.titles import axis_text, axis_title, table_axes


def trial_table(findings: SweepFindings) -> pd.DataFrame:
    """Return one row per trial, best first, with the axes in which trials differ."""
    axes = table_axes([row.choice for row in findings.trials])
    rows = []
    for place, row in enumerate(findings.trials, 1):
        intervals = row.intervals
        rows.append(
            {
                "place": place,
                "trial": row.id,
                "champion": row.id == findings.champion.id,
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
                "gflops_a_clip": findings.flops[row.id] / 1e9,
                "status": row.status,
                "reason": row.reason,
            }
        )
    return pd.DataFrame(rows)


def class_table(findings: SweepFindings) -> pd.DataFrame:
    """Return one row per class: scores on the test clips, test and training clips; recall with its Wilson interval."""
    rows = []
    for name in findings.classes:
        scores = findings.test.per_class[name]
        correct = round(scores.recall * scores.support)
        low, high = wilson_interval(correct, scores.support) if scores.support else (0.0, 1.0)
        rows.append(
            {
                "class": name,
                "precision": scores.precision,
                "recall": scores.recall,
                "recall_low": low,
                "recall_high": high,
                "f1": scores.f1,
                "test_clips": scores.support,
                "training_clips": findings.train_clips[name],
                "rare": name in findings.rare,
            }
        )
    return pd.DataFrame(rows)


def mistake_table(findings: SweepFindings) -> pd.DataFrame:
    """Return one row per wrong prediction on the test clips, the most confident first."""
    return pd.DataFrame(
        [(each.clip, each.label, each.predicted, each.probability) for each in findings.mistakes],
        columns=["clip", "label", "predicted", "probability"],
    )


def label_issue_table(findings: SweepFindings) -> pd.DataFrame:
    """Return one row per validation clip whose label is likely wrong."""
    return pd.DataFrame(
        [(each.clip, each.label, each.suggested, each.p_label, each.p_suggested) for each in findings.label_issues],
        columns=["clip", "label", "suggested", "p_label", "p_suggested"],
    )
