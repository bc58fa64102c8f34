"""What `ray job submit --working-dir .` uploads to a cluster, and which paths a submitted job refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes import PROJECT, succeeded
from tuning.cluster.submitted_job import WORKING_DIRS, check_lasting_paths, weight_paths, working_dir_copy
from tuning.config.load import parse_config
from tuning.config.paths import absolute_paths
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError

PACKAGES = ("data", "models", "tuning")
TOP_LEVEL_FILES = ("commandline.py", "proxies.py", "requirements.txt")

# Files of earlier sweeps in the project's folder; each would be uploaded with each job.
NOT_UPLOADED = (
    ".venv/bin/python",
    "runs/first/config.yaml",
    "frame_store/ab/abc.npy",
    "demo_clips/squat/a.mp4",
    "clips/squat/IMG_1.MOV",
    "weights/resnet18.pth",
    "tests/models/test_registry.py",
    ".git/config",
)

JOB = """
import contextlib, io, json, os
from pathlib import Path
from tuning.__main__ import main
from tuning.cluster.connect import connected
import ray

def where():
    import data, models, tuning
    return [str(Path(package.__file__).parent.relative_to(Path.cwd())) for package in (data, models, tuning)]

files = sorted(str(path.relative_to(Path.cwd())) for path in Path.cwd().rglob("*") if path.is_file())
with contextlib.redirect_stderr(io.StringIO()) as stderr:
    code = main(["sweep", "--config", "configs/small.yaml", "--data", "/elsewhere", "--name", "first"])
with connected(os.environ["RAY_ADDRESS"], verbose=False):
    found = ray.get(ray.remote(where).remote())
print(json.dumps({"files": files, "code": code, "stderr": stderr.getvalue(), "where": found}))
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> dict[str, Any]:
    """Files, packages and the exit code of a job submitted from a copy of this project with files of earlier sweeps."""
    project = tmp_path_factory.mktemp("home") / "project"
    for name in (*PACKAGES, "configs"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".rayignore", *TOP_LEVEL_FILES):
        shutil.copy(PROJECT / name, project / name)
    for name in NOT_UPLOADED:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(b"x")
    (project / "job.py").write_text(JOB)
    done = submit(project, ray_address)
    deadline = time.monotonic() + 600
    # A cluster that has just started may not accept jobs yet.
    while "No available agent" in done.stderr and time.monotonic() < deadline:
        time.sleep(1)
        done = submit(project, ray_address)
    lines = succeeded(done).stdout.splitlines()
    return json.loads(next(line for line in lines if line.startswith('{"files"')))


def submit(project: Path, ray_address: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", f"--address={ray_address}"]
    return subprocess.run(
        [*command, "--working-dir", ".", "--", sys.executable, "job.py"],
        cwd=project,
        env={**os.environ, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_job_uploads_all_code_and_nothing_else(job: dict[str, Any]) -> None:
    code = [path for name in (*PACKAGES, "configs") for path in (PROJECT / name).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(PROJECT)) for path in code if "__pycache__" not in path.parts}
    uploaded = {file for file in job["files"] if "__pycache__" not in file}
    assert uploaded - {".gitignore", ".rayignore"} == expected | {*TOP_LEVEL_FILES, "job.py"}


@pytest.mark.slow
def test_workers_of_a_job_import_the_uploaded_packages(job: dict[str, Any]) -> None:
    assert job["where"] == list(PACKAGES)


@pytest.mark.slow
def test_job_refuses_to_write_runs_into_its_working_dir(job: dict[str, Any]) -> None:
    assert job["code"] == 2
    assert job["stderr"].startswith("error: runs_dir is 'runs', inside a submitted job's copy of the working directory")
    assert job["stderr"].endswith("such as /mnt/sweep/runs\n")
    assert len(job["stderr"].splitlines()) == 1


def in_job(copy: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> SweepConfig:
    """Settings in a job whose working directory is `copy`; by default all lasting paths are on shared storage."""
    (copy / "deep").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(copy)
    stored = {"data": {"dir": "/s/clips"}, "runs_dir": "/s/runs", "store": {"dir": "/s/frames"}}
    return absolute_paths(parse_config({**stored, **settings}))


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"data": {"dir": "clips"}}, r"data.dir \(--data\) is 'clips', .* such as /mnt/sweep/clips$"),
        ({"runs_dir": "deep/../runs"}, "runs_dir is 'runs', "),
        ({"store": {"dir": "frame_store"}}, "store.dir is 'frame_store', "),
        ({"store": {"dir": "../frame_store"}}, "store.dir is '../frame_store', "),
        ({"store": {"dir": "s3://bucket/frames", "local": "copies"}}, "store.local is 'copies', "),
        ({"weights_dir": "weights", "models": {"resnet18": {"weights": "imagenet"}}}, "weights_dir is 'weights', "),
        ({"models": {"c3d": {"weights": "c3d.pt"}}}, "c3d's weights is 'c3d.pt', "),
    ],
)
def test_lasting_paths_inside_the_working_dir_are_refused(
    setting: dict[str, Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / WORKING_DIRS / "_ray_pkg_1"
    config = in_job(copy, monkeypatch, **setting)
    with pytest.raises(ConfigError, match=f"^{name}"):
        check_lasting_paths(config, working_dir_copy(copy / "deep"))


def test_files_read_once_may_be_inside_the_working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / WORKING_DIRS / "_ray_pkg_1"
    data = {"dir": "/s/clips", "groups": "groups.csv:source"}
    check_lasting_paths(in_job(copy, monkeypatch, data=data), working_dir_copy(copy))


def test_relative_paths_are_accepted_outside_a_submitted_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert working_dir_copy(tmp_path) is None
    check_lasting_paths(in_job(tmp_path, monkeypatch, runs_dir="runs"), working_dir_copy(tmp_path))


def test_weight_paths_omit_named_weights() -> None:
    config = parse_config(
        {
            "models": {"resnet18": {"weights": "imagenet"}, "c3d": {"weights": "/s/c3d.pt"}},
            "space": {"arch": ["resnet18", "c3d", "s3d"], "by_arch": {"s3d": {"weights": ["none", "/s/s3d.pt"]}}},
        }
    )
    assert weight_paths(config) == [("c3d", "/s/c3d.pt"), ("s3d", "/s/s3d.pt")]
