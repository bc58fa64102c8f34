"""How a sweep looks in MLflow's pages: a saved view of the run table, and a sweep's leaderboard as its description."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

VIEW = "leaderboard"
_TAG = "mlflow.sharedViewState."
"""Experiment tags that MLflow's pages offer as saved views."""

_NAME = "attributes.`Run Name`"
_METRICS = ("best_val_macro_f1", "best_val_accuracy", "test_macro_f1", "test_accuracy")
_PARAMS = ("arch", "weights", "sampler", "loss", "num_frames", "lr")
_TAGS = ("sweep", "stage", "status")
_MOST_ROWS = 30


def saved_view(created: int) -> tuple[str, str]:
    """The experiment tag, key and value, of a view of all trials, best first; made at so many milliseconds."""
    figures, settings = [f"metrics.`{name}`" for name in _METRICS], [f"params.`{name}`" for name in _PARAMS]
    tags = [f"tags.`{name}`" for name in _TAGS]
    columns = [*figures, *settings, *tags]
    state = {
        "searchFilter": "tags.trial_id != ''",
        "orderByKey": f"metrics.`{_METRICS[0]}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": [_NAME, *columns],
        "columnWidths": {_NAME: 300, **dict.fromkeys(figures, 130), **dict.fromkeys([*settings, *tags], 95)},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    view = {"name": "Leaderboard", "createdAt": created, "state": f"deflate;{packed}"}
    return f"{_TAG}{VIEW}", json.dumps(view)


def view_address(experiment_id: str) -> str:
    """Of the saved view, behind the server's own address."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}&workflowType=machine_learning"


def experiment_note(experiment_id: str) -> str:
    """An experiment's description."""
    return (
        "A run a sweep, and under it a run a trial. "
        f"[Leaderboard]({view_address(experiment_id)}): all trials with their scores and settings, best first."
    )


def sweep_note(experiment_id: str, trials: Sequence[Any]) -> str:
    """A sweep's description: its trials' MLflow runs as a leaderboard."""
    ranked = sorted(trials, key=lambda run: (-run.data.metrics.get(_METRICS[0], -1.0), run.data.tags["trial_id"]))
    rows = [
        [
            place,
            f"[{run.info.run_name}](#/experiments/{experiment_id}/runs/{run.info.run_id})",
            *(_figure(run, name) for name in _METRICS[:2]),
            run.data.tags.get("status", ""),
            "champion" if run.data.tags.get("champion") == "true" else "",
        ]
        for place, run in enumerate(ranked[:_MOST_ROWS], 1)
    ]
    header = ["", "trial", "val macro-F1", "val accuracy", "status", ""]
    table = tabulate(rows, header, "pipe", disable_numparse=True)
    more = f"\n\nand {len(ranked) - _MOST_ROWS} more" if len(ranked) > _MOST_ROWS else ""
    return f"{table}{more}"


def _figure(run: Any, name: str) -> str:
    return f"{run.data.metrics[name]:.3f}" if name in run.data.metrics else ""
