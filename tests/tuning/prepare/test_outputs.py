from __future__ import annotations

from pathlib import Path

import pytest

from tuning.config.load import parse_config
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.prepare.outputs import check_sweep_outputs


def sweep(folder: Path, **settings: object) -> SweepConfig:
    own = {"runs_dir": str(folder / "runs"), "store": {"dir": str(folder / "store")}}
    return parse_config({**own, **settings})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"runs_dir": "/proc/x/runs"}, "runs_dir '/proc/x/runs' can't be written"),
        ({"store": {"dir": "/proc/x"}}, "store.dir '/proc/x' can't be written"),
        ({"store": {"dir": "s3://bucket/x", "local": "/proc/x"}}, "store.local '/proc/x' can't be written"),
        (
            {"tracking": {"uri": "sqlite:////proc/x/m.db"}},
            "the folder of the MLflow database '/proc/x' can't be written",
        ),
    ],
    ids=str,
)
def test_output_that_cannot_be_written_is_refused(tmp_path: Path, settings: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_sweep_outputs(sweep(tmp_path, **settings), new=True)
    assert str(caught.value).startswith(named)
    assert str(caught.value).endswith("give another folder")


def test_resumed_run_needs_no_database(tmp_path: Path) -> None:
    check_sweep_outputs(sweep(tmp_path, tracking={"uri": "sqlite:////proc/x/m.db"}), new=False)


def test_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    for settings in ({"runs_dir": str(tmp_path / "taken/runs")}, {"store": {"dir": str(tmp_path / "taken")}}):
        with pytest.raises(ConfigError, match="can't be created: '.*taken' is a file; give another folder"):
            check_sweep_outputs(sweep(tmp_path, **settings), new=True)


def test_check_of_outputs_creates_nothing(tmp_path: Path) -> None:
    check_sweep_outputs(sweep(tmp_path), new=True)
    assert list(tmp_path.rglob("*")) == []
