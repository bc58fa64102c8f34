"""Run a sweep whose `runs` folder is a small disk: fill it in the middle, free it later, copy what the sweep left.

    unshare --mount python -m tests.faults.full_disk COPY COMMAND...

Runs in the sweep's folder. The disk is mounted here, in a mount namespace of this process, so that it vanishes with it.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from tests.helpers.processes import BackgroundCommand, background_command

MESSAGE = "ray/trials is full"
"""What the sweep prints."""
HOLD_SECONDS = 10.0
"""Time that the disk is full after the last checkpoint: long enough for a trial that does not wait to fail."""


def main(copy: str, *command: str) -> None:
    """Run the command; exit with its code."""
    runs = Path("runs")
    runs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(runs)], check=True)
    # The output goes to a file on another disk: it says when the trials wait.
    with background_command(list(command), folder=Path.cwd(), output=Path("sweep.out"), **os.environ) as sweep:
        sweep.wait_for(lambda: len(_checkpoints(runs)) >= 2, "two checkpoints")
        filler = runs / "filler"
        with filler.open("wb", buffering=0) as stream:
            _fill(stream)
            print("the disk is full", flush=True)
            _keep_full(stream, runs, sweep)
        assert sweep.process.poll() is None, f"the sweep ended while its disk was full\n{sweep.output[-4000:]}"
        print("the sweep waits", flush=True)
        filler.unlink()
        code = sweep.wait()
        print(sweep.output, flush=True)
    subprocess.run(["cp", "-r", "runs/full", "runs/mlflow.db", copy], check=True)
    sys.exit(code)


def _checkpoints(runs: Path) -> list[str]:
    return sorted(str(file) for file in runs.glob("full/ray/trials/*/checkpoint_*/checkpoint.json"))


def _fill(stream: BinaryIO) -> None:
    try:
        while stream.write(bytes(4096)):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def _keep_full(stream: BinaryIO, runs: Path, sweep: BackgroundCommand) -> None:
    """Fill what Ray frees by removing old checkpoints, until the trials wait and have waited for some time."""
    last, checkpoints = time.monotonic(), _checkpoints(runs)

    def waited() -> bool:
        nonlocal last, checkpoints
        _fill(stream)
        if _checkpoints(runs) != checkpoints or MESSAGE not in sweep.output:
            last, checkpoints = time.monotonic(), _checkpoints(runs)
        return time.monotonic() - last > HOLD_SECONDS

    sweep.wait_for(waited, "the trials wait for disk space")


if __name__ == "__main__":
    main(*sys.argv[1:])
