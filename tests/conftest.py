"""One set of demo clips and one Ray cluster for all tests that need them."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# The same cases in each run: what fails here must fail for whoever looks into it.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

PROJECT = Path(__file__).parents[1]

NEED_RAY = tuple(
    f"{place}.py"
    for place in (
        *("tuning/test_cli", "tuning/test_sweep", "tuning/cluster/test_connect", "tuning/cluster/test_node_checks"),
        *("tuning/cluster/test_decode_on_cluster", "tuning/cluster/test_submitted_job", "tuning/training/test_profile"),
        *("tuning/trial/test_ray_internals", "faults/test_faults"),
    )
)
"""Files whose tests start Ray, or look for it, below this folder."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes runs last, so that a failure of the small tests shows early; of what does not, Ray's first.

    Raises:
        UsageError: a file's tests use the cluster, and would run beside others that do.
    """
    unnamed = {_place(item.path) for item in items if "ray_address" in getattr(item, "fixturenames", ())} - set(
        NEED_RAY
    )
    if unnamed:
        raise pytest.UsageError(f"NEED_RAY in tests/conftest.py lacks {', '.join(sorted(unnamed))}")
    items.sort(key=lambda item: (item.get_closest_marker("slow") is not None, _place(item.path) not in NEED_RAY))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Of several processes one takes all that needs Ray, from the start, the others go on file by file.

    The tests of Ray share a cluster, some would find another's, and they take about as long as all others.
    """
    return _RayTogether(config, log)


def _place(file: Path) -> str:
    return file.relative_to(PROJECT / "tests").as_posix()


class _RayTogether(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "ray" if _place(PROJECT / file) in NEED_RAY else file


@pytest.fixture(scope="session")
def demo_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few generated clips of three classes, and `sources.csv`."""
    from data.demo.synthetic import write_demo

    folder = tmp_path_factory.mktemp("demo") / "clips"
    write_demo(folder, classes=3, clips_per_class=9, seed=0, progress=False)
    return folder


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray cluster of two CPUs, started as `ray start` does, with its dashboard."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    head = ["start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2", "--block"]
    # Jobs are taken by an agent that would else want a port of its own, which another cluster here may hold.
    agent = ["--dashboard-agent-listen-port=0"]
    # Tokens are on, as Ray has it where a token exists; this one lies in no home folder.
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
        process.wait(timeout=60)
        del os.environ["RAY_AUTH_TOKEN"]
