"""The address of MLflow, and whether it responds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuning.config.schema.tracking import TrackingConfig
from tuning.tracking.server import TrackingError, check_reachable, resolve_uri, ui_command


def test_uri_is_the_setting_else_the_environment_else_a_local_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from.environment")
    assert resolve_uri(TrackingConfig(uri="http://configured"), tmp_path) == "http://configured"
    assert resolve_uri(TrackingConfig(), tmp_path) == "http://from.environment"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_uri(TrackingConfig(), tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


def test_unreachable_server_raises_with_its_address(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="^no MLflow server responds at http://127.0.0.1:9 .*Connection refused"):
        check_reachable("http://127.0.0.1:9")
    check_reachable(f"sqlite:///{tmp_path}/mlflow.db")


def test_password_is_neither_in_messages_nor_on_the_command_line() -> None:
    uri = "http://anna:geheim99@127.0.0.1:9/mlflow"
    with pytest.raises(TrackingError, match="at http://127.0.0.1:9/mlflow "):
        check_reachable(uri)
    command, environment = ui_command(uri, "127.0.0.1", 5000)
    assert "geheim99" not in " ".join(command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
