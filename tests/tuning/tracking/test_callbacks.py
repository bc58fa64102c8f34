"""The callback by which Tune logs events of trials."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tuning.tracking.callbacks import TrackingCallback
from tuning.tracking.outbox import Outbox


def test_callback_of_a_run_that_was_moved_logs_to_its_present_outbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = pickle.dumps(TrackingCallback(Outbox(tmp_path / "old/mlflow.jsonl")))
    monkeypatch.setattr(TrackingCallback, "outbox_of_sweep", Outbox(tmp_path / "mlflow.jsonl"))
    callback = pickle.loads(pickled)
    callback.setup()
    callback.events.log_sweep_opened()
    assert (tmp_path / "mlflow.jsonl").is_file()
    assert not (tmp_path / "old").exists()
