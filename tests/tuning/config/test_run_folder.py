"""How a run is found by its name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tuning.config.run_folder import RunFolder, find_run
from tuning.errors import ConfigError


def make_run(folder: Path, started: str | None = None) -> RunFolder:
    run = RunFolder(folder)
    folder.mkdir(parents=True)
    run.config.write_text("runs_dir: runs\n")
    run.split.touch()
    if started is not None:
        run.provenance.write_text(json.dumps([{"started": "2026-01-01T00:00:00+00:00"}, {"started": started}]))
    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_name_under_runs_and_path_lead_to_the_same_run(here: Path) -> None:
    run = make_run(here / "runs/demo")
    assert find_run("demo") == find_run("runs/demo") == find_run(str(run.path)) == run


def test_unknown_run_lists_those_that_are_there_nearest_first(here: Path) -> None:
    for name in ("baseline", "demo-2", "long", "other", "short", "wide"):
        make_run(here / "runs" / name)
    (here / "runs/.demo-1-xyz").mkdir()
    (here / "runs/.demo-1-xyz/config.yaml").touch()
    with pytest.raises(ConfigError, match="no run 'demo-1': no demo-1/config.yaml and no runs/demo-1/") as caught:
        find_run("demo-1")
    assert "give one of demo-2, " in str(caught.value)
    assert str(caught.value).endswith(" and 1 more, or latest")
    with pytest.raises(ConfigError, match="give one of demo-2, "):
        find_run("runs/demo_2")


def test_unknown_run_among_no_runs_says_what_to_give(here: Path) -> None:
    for name in ("demo", "latest"):
        with pytest.raises(ConfigError, match="give a name under runs/ or the path of a run folder"):
            find_run(name)


def test_latest_is_the_run_that_a_sweep_worked_on_last(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resumed = make_run(here / "runs/resumed", "2026-03-01T10:00:00+00:00")
    make_run(here / "runs/other", "2026-02-01T10:00:00+00:00")
    # Copying a project gives its files new times in any order.
    os.utime(resumed.config, (0, 0))
    assert find_run("latest") == find_run("runs/latest") == find_run(str(here / "runs/latest")) == resumed
    assert capsys.readouterr().err == 3 * "latest run: resumed\n"


def test_run_called_latest_is_that_run(here: Path) -> None:
    make_run(here / "runs/newer", "2026-03-01T10:00:00+00:00")
    named = make_run(here / "runs/latest", "2026-01-01T10:00:00+00:00")
    assert find_run("latest") == named
