"""Sweeps on the local Ray and on clusters: what workers import, what is released, faults of trials."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.processes import LIMIT_SECONDS, PROJECT, succeeded
from tests.helpers.sweep_runs import Workplace, logged_epochs, table

pytestmark = pytest.mark.slow


JOB = """
import json, sys
from tuning.cluster.address import use_token_if_required
address = sys.argv[1] or None
use_token_if_required(address)
import ray
from ray.util import placement_group_table
from tuning.cluster.connect import connected
def where():
    import os, data, models
    return os.getcwd(), data.__file__, models.__file__
with connected(address, verbose=False):
    states = [place["state"] for place in placement_group_table().values()]
    print(json.dumps([ray.get(ray.remote(where).remote()), [state for state in states if state != "REMOVED"]]))
"""


def run_job(place: Workplace, folder: Path, address: str | None) -> tuple[list[Path], list[str]]:
    """A worker's directory and the files of its `data` and `models`, and the states of what holds places.

    Packages with these names that are installed, here by PYTHONPATH, must not be taken for ours.
    """
    for name in ("data", "models"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('the wrong package')")
    done = subprocess.run(
        [sys.executable, "-c", JOB, address or ""],
        cwd=PROJECT,
        env={**place.environment, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    paths, held = json.loads(succeeded(done).stdout.splitlines()[-1])
    return [Path(path) for path in paths], held


@pytest.fixture(scope="module")
def later_job(
    asha_run: tuple[Path, str], place: Workplace, ray_address: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Path], list[str]]:
    """What a job sees on the cluster on which a sweep has ended."""
    return run_job(place, tmp_path_factory.mktemp("wrong"), ray_address)


def test_ended_sweep_releases_the_cluster(later_job: tuple[list[Path], list[str]]) -> None:
    assert later_job[1] == []


def test_workers_on_a_cluster_import_the_packed_packages(
    later_job: tuple[list[Path], list[str]],
) -> None:
    folder, *files = later_job[0]
    assert folder != PROJECT
    assert files == [folder / name / "__init__.py" for name in ("data", "models")]


def test_local_workers_import_the_packages_in_place(place: Workplace, tmp_path: Path) -> None:
    (folder, *files), _ = run_job(place, tmp_path, None)
    assert folder == PROJECT
    assert files == [PROJECT / name / "__init__.py" for name in ("data", "models")]


def test_sweep_in_which_every_trial_diverges(place: Workplace, ray_address: str) -> None:
    done = place.run(
        place.sweep_command(
            "hopeless",
            f"--address={ray_address}",
            "space.lr=1e30",
            "train.epochs=1",
            "train.clip_norm=null",
            "train.warmup_epochs=0",
        )
    )
    assert done.returncode == 2
    assert "error: no trial has a usable model: 1 diverged" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def beside(place: Workplace, ray_address: str) -> pd.DataFrame:
    """Three rates, one after another, on Ray of its own while another cluster runs: by rate, what became of them.

    Ray takes the cluster last started on a machine for its own where nobody names one.
    """
    done = place.run(
        place.sweep_command(
            "beside",
            "space.lr=[0.001,0.00001,1e30]",
            "train.clip_norm=null",
            "train.warmup_epochs=0",
            "search.asha={grace_epochs: 1, reduction_factor: 2}",
            "resources.max_concurrent=1",
        )
    )
    succeeded(done)
    return table(place.folder / "runs/beside").set_index("lr")


def test_local_sweep_next_to_another_cluster(beside: pd.DataFrame) -> None:
    assert len(beside) == 3
    assert beside.loc[0.001, "status"] == "done"
    # On so few clips trials may tie, and of a tie none is stopped.
    assert beside.loc[0.00001, "status"] in ("done", "stopped")


def test_diverged_trial_does_not_end_the_others(beside: pd.DataFrame) -> None:
    assert dict(beside["status"] == "diverged") == {0.001: False, 0.00001: False, 1e30: True}


@pytest.fixture(scope="module")
def with_and_without_reuse(place: Workplace, ray_address: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results of the same sweep with Ray's internals and on its public API alone, by learning rate.

    One trial fits at a time. The last two train nothing, so that they are stopped early, and so that their scores are
    the same in each epoch: they may train some more epochs until the stop reaches them.
    """
    settings = [
        "space.arch=c3d",
        "models.c3d.batch_norm=false",
        "space.num_frames=8",
        "space.lr=[0.003,1e-12,2e-12]",
        "train.epochs=10",
        "search.asha={grace_epochs: 2, reduction_factor: 2}",
        "resources.cpus=2",
    ]
    results = []
    for name, reuse in (("reused", "true"), ("public", "false")):
        command = place.sweep_command(name, f"--address={ray_address}", *settings, f"resources.reuse_workers={reuse}")
        succeeded(place.run(command))
        results.append(table(place.folder / "runs" / name).set_index("lr"))
    reused, public = results
    return reused, public


def test_leaderboard_is_the_same_on_rays_public_api(
    place: Workplace, with_and_without_reuse: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    reused, public = with_and_without_reuse
    differing = ["id", "seconds", "epochs", "best_epoch"]
    pd.testing.assert_frame_equal(public.drop(columns=differing), reused.drop(columns=differing), check_exact=True)
    figures = logged_epochs(place, "reused", reused.loc[0.003, "id"])
    assert {step for _, step in figures} == set(range(1, 11))
    assert logged_epochs(place, "public", public.loc[0.003, "id"]) == figures


def test_trials_that_are_stopped_early_free_their_slots_on_rays_public_api(
    with_and_without_reuse: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    _, public = with_and_without_reuse
    assert public["status"].to_dict() == {0.003: "done", 1e-12: "stopped", 2e-12: "stopped"}
    assert (public["status"] == "stopped").equals(public["epochs"] < 10)
