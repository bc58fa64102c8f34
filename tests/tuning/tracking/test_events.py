"""The format of events in `mlflow.jsonl`, and which events are logged once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.trial_results import CHOICE, trial_result
from tuning.tracking.events import EventLog, parse_event
from tuning.tracking.outbox import Outbox
from tuning.training.epoch_metrics import EPOCH_METRICS

LINES = [
    '{"time":1,"what":"sweep opened"}',
    '{"time":2,"what":"trial started","trial":"t1","title":"c3d","params":{"lr":"0.001"}}',
    '{"time":3,"what":"epoch done","trial":"t1","epoch":1,"metrics":{"val_loss":0.5,"train_loss":NaN}}',
    '{"time":4,"what":"trial ended","trial":"t1","status":"done","best":{"best_epoch":1.0}}',
    '{"time":5,"what":"champion chosen","trial":"t1","model_name":"workout-clips"}',
    '{"time":6,"what":"tested","promote":"better"}',
    '{"time":7,"what":"reported"}',
    '{"time":8,"what":"machine seen","metrics":{"system/cpu_utilization_percentage":12.5}}',
    '{"time":9,"what":"sweep ended","status":"FINISHED"}',
]
"""One event of each kind, as in the run folders of earlier versions."""


@pytest.mark.parametrize("line", LINES, ids=[json.loads(line)["what"] for line in LINES])
def test_event_keeps_its_format(line: str) -> None:
    assert parse_event(line).model_dump_json() == line


def test_line_that_is_not_an_event_raises() -> None:
    with pytest.raises(ValueError, match="validation error"):
        parse_event('{"time":1,"what":"unknown"}')


def test_next_process_does_not_log_the_same_events_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "mlflow.jsonl")
    for _ in range(2):
        events = EventLog(outbox)
        if not events.has_epochs("t1", 1):
            events.log_trial_start("t1", CHOICE)
        events.log_epoch("t1", 1, dict.fromkeys(EPOCH_METRICS, 0.5))
        events.log_trial_ends([trial_result("t1", 0.5)])
    kinds = [json.loads(line)["what"] for line, _ in outbox.lines()]
    assert kinds == ["trial started", "epoch done", "trial ended"]


def test_sweep_is_finished_until_it_is_opened_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "mlflow.jsonl")
    events = EventLog(outbox)
    assert not events.finished
    events.log_sweep_end("KILLED")
    assert not EventLog(outbox).finished
    events.log_sweep_end("FINISHED")
    assert EventLog(outbox).finished
    events.log_sweep_opened()
    assert not EventLog(outbox).finished
