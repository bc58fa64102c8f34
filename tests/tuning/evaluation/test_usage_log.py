"""Uses of a test split are counted over all runs of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.clip import Clip
from data.dataset.splits import Split, SplitRow
from tuning.config.run_folder import RunFolder
from tuning.evaluation.usage_log import count_test_uses, log_test_use


def split(test: str = "a", train: str = "b") -> Split:
    rows = [(test, "test"), (train, "train"), ("c", "val")]
    return Split(tuple(SplitRow(Clip(f"dip/{name}.mp4", "dip", name), part) for name, part in rows))


def run(folder: Path, name: str) -> RunFolder:
    created = RunFolder(folder / name)
    created.path.mkdir()
    return created


def test_a_single_evaluation_is_counted_with_the_other_models(tmp_path: Path) -> None:
    first = run(tmp_path, "first")
    log_test_use(first, split(), "one", "champion")
    log_test_use(first, split(), "other", "frame order")
    assert count_test_uses(first, split()).sentence == (
        "This test split has been used once. 1 other model was evaluated on it to compare orders of frames; "
        "nothing was chosen by that."
    )


def test_champions_of_all_runs_with_the_same_test_clips_are_counted(tmp_path: Path) -> None:
    first, second, elsewhere = (run(tmp_path, name) for name in ("first", "second", "elsewhere"))
    log_test_use(first, split(), "one", "champion")
    log_test_use(first, split(), "one", "champion")
    log_test_use(second, split(train="d"), "two", "champion")
    log_test_use(elsewhere, split(test="e"), "three", "champion")
    uses = count_test_uses(first, split())
    assert (uses.evaluations, uses.champions, uses.runs, uses.others) == (3, 2, 2, 0)
    assert uses.sentence.startswith("This test split has been used 3 times, for 2 champions of 2 runs. If you pick")
    assert count_test_uses(elsewhere, split(test="e")).evaluations == 1


def test_a_truncated_line_is_reported_and_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(tmp_path, "first")
    log_test_use(first, split(), "one", "champion")
    with first.usage_log.open("a") as stream:
        stream.write('{"time": ')
    assert count_test_uses(first, split()).evaluations == 1
    assert "a damaged line of" in capsys.readouterr().out
