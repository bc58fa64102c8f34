"""How a sweep is shown in MLflow's pages: a saved view of the run table, and the leaderboard as its description."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

_VIEW_ID = "leaderboard"
_VIEW_TAG_PREFIX = "mlflow.sharedViewState."
"""Prefix of the experiment tags that MLflow's pages offer as saved views."""

_NAME = "attributes.`Run Name`"
_METRICS = ("best_val_macro_f1", "best_val_accuracy", "test_macro_f1", "test_accuracy")
_PARAMS = ("arch", "weights", "sampler", "loss", "num_frames", "lr")
_TAGS = ("sweep", "stage", "status")
_MAX_ROWS = 30


def saved_view(created: int) -> tuple[str, str]:
    """Return the experiment tag, as key and value, of a view of all trials, best first.

    Args:
        created: milliseconds since 1970.
    """
    metrics, params = [f"metrics.`{name}`" for name in _METRICS], [f"params.`{name}`" for name in _PARAMS]
    tags = [f"tags.`{name}`" for name in _TAGS]
    columns = [*metrics, *params, *tags]
    state = {
        "searchFilter": "tags.trial_id != ''",
        "orderByKey": f"metrics.`{_METRICS[0]}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": [_NAME, *columns],
        "columnWidths": {_NAME: 300, **dict.fromkeys(metrics, 130), **dict.fromkeys([*params, *tags], 95)},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    view = {"name": "Leaderboard", "createdAt": created, "state": f"deflate;{packed}"}
    return f"{_VIEW_TAG_PREFIX}{_VIEW_ID}", json.dumps(view)


def _view_link(experiment_id: str) -> str:
    """Return the address of the saved view, relative to the server's address."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={_VIEW_ID}&workflowType=machine_learning"


def experiment_note(experiment_id: str) -> str:
    """Return the description of an experiment."""
    return (
        "One run per sweep, with one child run per trial. "
        f"[Leaderboard]({_view_link(experiment_id)}): all trials with their scores and settings, best first."
    )


def sweep_note(experiment_id: str, trials: Sequence[Any]) -> str:
    """Return the description of a sweep: a leaderboard of its trials' MLflow runs."""
    ranked = sorted(trials, key=lambda run: (-run.data.metrics.get(_METRICS[0], -1.0), run.data.tags["trial_id"]))
    rows = [
        [
            rank,
            f"[{run.info.run_name}](#/experiments/{experiment_id}/runs/{run.info.run_id})",
            *(_metric_text(run, name) for name in _METRICS[:2]),
            run.data.tags.get("status", ""),
            "champion" if run.data.tags.get("champion") == "true" else "",
        ]
        for rank, run in enumerate(ranked[:_MAX_ROWS], 1)
    ]
    header = ["", "trial", "val macro-F1", "val accuracy", "status", ""]
    table = tabulate(rows, header, "pipe", disable_numparse=True)
    more = f"\n\nand {len(ranked) - _MAX_ROWS} more" if len(ranked) > _MAX_ROWS else ""
    return f"{table}{more}"


def _metric_text(run: Any, name: str) -> str:
    return f"{run.data.metrics[name]:.3f}" if name in run.data.metrics else ""
