"""The MLflow runs of a sweep: one parent run, and one child run per trial."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tuning.config.redact import redact_uri, restore_uri
from tuning.tracking.server import TrackingError, mlflow_client

TRIAL_TAG = "trial_id"
STATUS_TAG = "status"
CHAMPION_TAG = "champion_trial"
NOTE_TAG = "mlflow.note.content"
"""The description of a run or an experiment, in Markdown."""


@dataclass(frozen=True, slots=True)
class MlflowSweep:
    """Where a sweep's runs are in MLflow. It has plain values only, so that it can be saved and resumed."""

    uri: str = field(repr=False)
    """May contain a password."""
    experiment_id: str
    parent_run_id: str

    def save(self, file: Path) -> None:
        """Write it for `sweep --resume` and `evaluate`, without the password."""
        values = asdict(self) | {"uri": redact_uri(self.uri)}
        file.write_text(json.dumps(values, indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> MlflowSweep:
        """Read what `save` wrote; the password comes from MLFLOW_TRACKING_URI.

        Raises:
            TrackingError: the file is damaged.
        """
        try:
            values = json.loads(file.read_text())
            return cls(**values | {"uri": restore_uri(values["uri"])})
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TrackingError(f"{file} is damaged: restore it, or remove it to continue without MLflow") from None

    def find_trial_runs(self, trial_id: str) -> list[Any]:
        """Return the child runs of a trial: none, one, or several if the server froze while one was created.

        A frozen server that resumes creates a run for each request that it got while it was frozen. The run that has
        the trial's epochs comes first.
        """
        found = mlflow_client(self.uri).search_runs(
            [self.experiment_id],
            f"tags.{TRIAL_TAG} = '{trial_id}' and tags.mlflow.parentRunId = '{self.parent_run_id}'",
        )
        return sorted(found, key=lambda run: run.data.metrics.get("epoch", 0), reverse=True)

    def find_logged_epochs(self, run_id: str) -> set[int]:
        """Return the epochs whose metrics are logged."""
        return {int(point.value) for point in mlflow_client(self.uri).get_metric_history(run_id, "epoch")}
