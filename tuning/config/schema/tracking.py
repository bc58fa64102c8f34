"""Section `tracking`: where MLflow records runs and models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tuning.config.redact import TRACKING_URI_VARIABLE, redact_uri
from tuning.config.schema.base import Settings

_ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
_MODEL_NAME = r"^[^/:?\\'\"`\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
"""What MLflow accepts, without the quotes that would end a name in its search filters, and the `?` that would end it
in `models:/NAME/VERSION`."""


class TrackingConfig(Settings):
    """Where MLflow records runs and models."""

    uri: str | None = None
    """Address of a tracking server or database. `null`: the environment variable MLFLOW_TRACKING_URI, else an SQLite
    database in `runs_dir`. A password belongs in the environment, not here."""
    experiment: str = Field("workout-clips", min_length=1, max_length=200, pattern=_ONE_LINE)
    """Name of the MLflow experiment."""
    model_name: str = Field("workout-clips", min_length=1, max_length=200, pattern=_MODEL_NAME)
    """Name of the registered model. Every champion is registered as a version of it; the alias `champion` moves as
    `promote` says."""
    promote: Literal["better", "always", "never"] = "better"
    """When a tested version gets the alias `champion`: if it is `better` than the present champion on the same test
    split, `always`, or `never`. Otherwise it gets the alias `candidate`."""
    system_metrics: bool = True
    """Log the load of the machine that runs the sweep (CPU, memory, disk, network, GPU) every 30 seconds."""
    patience: float = Field(120.0, ge=0)
    """Seconds to wait for a tracking server that is down, after the last trial. Trials themselves never wait."""

    @model_validator(mode="after")
    def _no_password(self) -> TrackingConfig:
        if self.uri is not None and redact_uri(self.uri) != self.uri:
            raise ValueError(
                "uri contains a password or token, and settings are saved in the run folder: set the address as the "
                f"environment variable {TRACKING_URI_VARIABLE}, or the login as MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        return self
