"""A run with a champion trained on coloured squares."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.awkward_names import AWKWARD_FOLDER
from tests.helpers.champions import make_run
from tuning.config.run_folder import RunFolder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("place") / AWKWARD_FOLDER, "my *best* run")


@pytest.fixture
def clips(run: RunFolder) -> Path:
    return run.path.parents[1] / "clips"
