"""Servers that tests start, freeze, kill and restart."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.processes import LIMIT_SECONDS
from tuning.ports import find_free_port
from tuning.tracking.server import TrackingError, check_reachable


def wait_for_server(uri: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(TrackingError):
            check_reachable(uri)
            return
        time.sleep(0.2)
    raise AssertionError(f"no server responds at {uri}")


class MlflowServer:
    """`mlflow server` with a database and a folder of artifacts."""

    def __init__(self, database: str, artifacts: Path) -> None:
        port = find_free_port()
        self.uri = f"http://127.0.0.1:{port}"
        self.command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
        self.command += ["--backend-store-uri", database, "--artifacts-destination", str(artifacts)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for_server(self.uri, self.process)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its workers."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.send_signal(number)
            self.process.wait(timeout=LIMIT_SECONDS)
            self.process = None


@contextmanager
def mlflow_server(database: str, artifacts: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(database, artifacts)
    try:
        server.start()
        yield server
    finally:
        server.stop()


POSTGRES = shutil.which("initdb"), shutil.which("postgres")


@contextmanager
def postgresql() -> Iterator[str]:
    """A new PostgreSQL server that requires a password; yields its address."""
    initdb, postgres = POSTGRES
    assert initdb is not None
    assert postgres is not None
    # It refuses to run as root, and another user can't read pytest's folders, which belong to root.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    port = find_free_port()
    (folder / "password").write_text("hunter22")
    if user is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    create = [initdb, "-D", str(folder / "data"), "-U", "sweep", "-A", "scram-sha-256", "--no-sync"]
    create += ["--pwfile", str(folder / "password")]
    subprocess.run(create, cwd=folder, user=user, check=True, capture_output=True)
    server = subprocess.Popen(
        [postgres, "-D", str(folder / "data"), "-k", str(folder), "-h", "127.0.0.1", "-p", str(port), "-F"],
        cwd=folder,
        user=user,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    uri = f"postgresql+psycopg2://sweep:hunter22@127.0.0.1:{port}/postgres"
    try:
        wait_for_server(uri, server)
        yield uri
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=LIMIT_SECONDS)
        shutil.rmtree(folder)
