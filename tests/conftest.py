"""Shared fixtures, and how tests are ordered and spread over pytest's worker processes."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.helpers.processes import LIMIT_SECONDS, PROJECT
from tuning.ports import find_free_port

# The same cases in each run, so that a failure can be reproduced.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

NEED_RAY = (
    *("tuning/test_cli", "tuning/sweep/", "tuning/cluster/test_connect", "tuning/cluster/test_node_checks"),
    *("tuning/cluster/test_decode_on_cluster", "tuning/cluster/test_submitted_job", "tuning/cluster/test_profile_task"),
    *("tuning/trial/test_ray_internals", "faults/"),
)
"""What the paths, below this folder, of tests that start Ray or connect to it begin with."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests last, so that a failure of a small test shows early, and Ray's tests first among the others.

    Raises:
        UsageError: a file uses the cluster and is not listed in NEED_RAY: it would run beside others that use it.
    """
    using_cluster = {_relative(item.path) for item in items if "ray_address" in getattr(item, "fixturenames", ())}
    unnamed = sorted(file for file in using_cluster if not file.startswith(NEED_RAY))
    if unnamed:
        raise pytest.UsageError(f"NEED_RAY in tests/conftest.py lacks {', '.join(unnamed)}")
    items.sort(
        key=lambda item: (item.get_closest_marker("slow") is not None, not _relative(item.path).startswith(NEED_RAY))
    )


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Run all tests that need Ray in one process, and the other tests file by file in the others.

    The tests of Ray share a cluster, and some would find the cluster of another process.
    """
    return _RayTogether(config, log)


class _RayTogether(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "ray" if file.removeprefix("tests/").startswith(NEED_RAY) else file


def _relative(file: Path) -> str:
    return file.relative_to(PROJECT / "tests").as_posix()


@pytest.fixture(scope="session")
def demo_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 21 generated clips of three classes, and `sources.csv`."""
    from data.demo import write_demo

    folder = tmp_path_factory.mktemp("demo") / "clips"
    write_demo(folder, classes=3, clips_per_class=9, seed=0, progress=False)
    return folder


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray cluster of two CPUs, started as `ray start` does, with its dashboard."""
    port = find_free_port()
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    head = ["start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2", "--block"]
    # The agent that accepts jobs would otherwise use a fixed port, which another cluster may have taken.
    agent = ["--dashboard-agent-listen-port=0"]
    # Authentication is on, as Ray has it by default; this token is not written to a home folder.
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    process = subprocess.Popen(
        [*ray, *head, "--include-dashboard=true", "--dashboard-port=0", *agent, "--disable-usage-stats"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": "token"},
    )
    try:
        assert process.stdout is not None
        assert any("Ray runtime started" in line for line in process.stdout), "ray start ended"
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=LIMIT_SECONDS)
        del os.environ["RAY_AUTH_TOKEN"]
