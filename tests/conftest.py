"""One set of demo clips and one Ray cluster for all tests that need them."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same cases in each run: what fails here must fail for whoever looks into it.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

PROJECT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist's own looks for the groups.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes runs last, so that a failure of the small tests shows early.

    Of two processes one takes all that needs Ray, from the start: these tests share a cluster, some would find
    another's, and they take as long as all others. The others go to whoever has time, a file at once.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group("ray" if _needs_ray(item) else item.path.name))
    items.sort(key=lambda item: (item.get_closest_marker("slow") is not None, not _needs_ray(item)))


def _needs_ray(item: pytest.Item) -> bool:
    return item.get_closest_marker("ray") is not None or "ray_address" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def demo_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few generated clips of three classes, and `sources.csv`."""
    from data.synthetic import write_demo

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
