"""One sweep on a machine on which everything is odd at once: each part of it was a traceback, or may become one."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.helpers.processes import succeeded
from tests.helpers.sweep_runs import Workplace, client, table

pytestmark = pytest.mark.slow

DEAD = "http://127.0.0.1:9"

ENVIRONMENT = {
    "HOME": "/proc",
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), DEAD),
    "no_proxy": "",
    "MLFLOW_RUN_ID": "0" * 32,
    "MLFLOW_EXPERIMENT_ID": "999",
    "MLFLOW_EXPERIMENT_NAME": "another",
    "MLFLOW_REGISTRY_URI": "sqlite:////nowhere/registry.db",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "0",
}

CELL = """
import asyncio, sys
from tuning.__main__ import main
async def cell():
    return main(sys.argv[1:])
if __name__ == "__main__":
    sys.exit(asyncio.run(cell()))
"""
"""Runs a command as a notebook's cell does, inside a running event loop."""

# As in a container with Docker's shared memory, and on a network of IPv6 alone.
ODD_MOUNTS = """
set -e
mount -t tmpfs -o size=64m tmpfs /dev/shm
mount --bind {clips} {clips}
mount -o remount,bind,ro {clips}
! touch {clips}/written 2>/dev/null
mount --bind {hosts} /etc/hosts
ip link set lo up
"""

LIMITED = 'ulimit -n 256; exec nice -n 5 "$@"'


def isolated(script: str, clips: Path, hosts: Path) -> tuple[list[str], str]:
    """Return the command that runs a script in a name space of its own, if this user may, and what it runs first."""
    unshare = ["unshare", "--mount", "--net"]
    may = shutil.which("ip") and subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
    return (unshare, ODD_MOUNTS.format(clips=clips, hosts=hosts) + script) if may else ([], script)


def test_sweep_on_an_odd_machine(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text(CELL)
    (tmp_path / "hosts").write_text(f"::1 localhost {socket.gethostname()}\n")
    long = tmp_path / ("x" * 90)
    long.mkdir()
    python, _, _, *arguments = place.sweep_command("odd")
    prefix, script = isolated(LIMITED, place.clips, tmp_path / "hosts")
    command = [*prefix, "bash", "-c", script, "bash", python, str(tmp_path / "cell.py"), *arguments]
    done = place.run(command, TMPDIR=str(long), **ENVIRONMENT)
    output = succeeded(done).stdout + done.stderr
    assert "Traceback" not in output
    assert "note: Ray's files go to " in output
    (trial,) = table(place.folder / "runs/odd").to_dict("records")
    assert trial["status"] == "done"
    found = client(place)
    assert found.get_experiment_by_name("another") is None
    registered = [found.get_run(version.run_id) for version in found.search_model_versions("name = 'test'")]
    assert trial["id"] in {run.data.tags["trial_id"] for run in registered}
