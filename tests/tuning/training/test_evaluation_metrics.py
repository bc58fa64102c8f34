"""The JSON of the test metrics: files of older runs can be read, and the keys stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.training.evaluation_metrics import EvaluationError, EvaluationMetrics

WRITTEN = {
    "accuracy": 0.75,
    "accuracy_wilson_95": [0.3, 0.95],
    "macro_f1": 0.7333333333333334,
    "accuracy_group_95": {"low": 0.25, "high": 1.0},
    "macro_f1_group_95": {"low": 0.2, "high": 1.0},
    "per_class": {
        "dip": {"precision": 1.0, "recall": 0.5, "f1": 0.6666666666666666, "support": 2},
        "squat": {"precision": 0.6666666666666666, "recall": 1.0, "f1": 0.8, "support": 2},
    },
    "confusion": [[1, 1], [0, 2]],
    "classes": ["dip", "squat"],
    "num_clips": 4,
    "averaged": {
        "views": 2,
        "crops": 3,
        "accuracy": 1.0,
        "accuracy_wilson_95": [0.5, 1.0],
        "macro_f1": 1.0,
    },
    "failed_clips": {"dip/3.mp4": "no video stream"},
    "split_sha256": "ab" * 32,
    "checkpoint_sha256": "cd" * 32,
}
"""As runs have written it since the first release: keys and their order must stay."""


def test_a_file_of_an_older_run_is_read_and_written_unchanged(tmp_path: Path) -> None:
    file, copy = tmp_path / "metrics.json", tmp_path / "copy.json"
    file.write_text(json.dumps(WRITTEN, indent=1) + "\n")
    EvaluationMetrics.load(file).save(copy)
    assert copy.read_text() == file.read_text()


def test_a_missing_file_is_reported_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no test metrics in .*metrics.json .*; run evaluate first"):
        EvaluationMetrics.load(tmp_path / "metrics.json")


@pytest.mark.parametrize(("text", "fault"), [("[", "Invalid JSON"), ('{"accuracy": "high"}', "accuracy Input should")])
def test_a_damaged_file_is_reported_with_the_fault(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(EvaluationError, match=f"is damaged .*{fault}.*; run evaluate again"):
        EvaluationMetrics.load(tmp_path / "metrics.json")
