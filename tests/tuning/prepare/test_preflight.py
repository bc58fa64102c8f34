from __future__ import annotations

from pathlib import Path

import pytest

from tuning.config.load import parse_config
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.prepare.preflight import machine_warnings
from tuning.trial.spec import Slot

SLOT = Slot(workers=1, cpus=1, gpus=0)


def sweep(folder: Path, **settings: object) -> SweepConfig:
    own = {"runs_dir": str(folder / "runs"), "store": {"dir": str(folder / "store")}}
    return parse_config({**own, **settings})


def test_batches_of_loader_processes_must_fit_into_shared_memory(tmp_path: Path) -> None:
    train = {"batch_size": 10**6, "loader_workers": 2}
    with pytest.raises(ConfigError, match="/dev/shm has .* free, but the loader processes of a trial .* --shm-size=8g"):
        machine_warnings(sweep(tmp_path, train=train), SLOT, 1)
    assert machine_warnings(sweep(tmp_path, train={**train, "loader_workers": 0}), SLOT, 1) == []
    assert machine_warnings(sweep(tmp_path, train={"batch_size": 2, "loader_workers": 2}), SLOT, 1) == []
    (warning, *_) = machine_warnings(sweep(tmp_path, train={"batch_size": 2, "loader_workers": 2}), SLOT, 10**6)
    assert "the loader processes of 1000000 trials pass batches" in warning


def test_low_limit_of_open_files_is_named(tmp_path: Path) -> None:
    (warning,) = machine_warnings(sweep(tmp_path), SLOT, 10**9)
    assert "concurrent trials: raise the limit (ulimit -n 8192), or lower resources.max_concurrent" in warning
