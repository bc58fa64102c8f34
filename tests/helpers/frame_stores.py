"""Build frame stores in the test's own process, and files that an index trusts."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.store.index import FileState
from data.store.store_clip import ClipResult, PendingClip, StoreClip


def decode_in_process(function: StoreClip, clips: Iterable[PendingClip]) -> Generator[ClipResult, None, None]:
    """Yield the results of a function for clips, without starting processes; a `ClipExecutor`."""
    yield from map(function, clips)


def build(
    store: FrameStore, data_dir: Path, paths: Sequence[str], *, verify: bool = True, rehash: bool = False
) -> BuildReport:
    """Build a store without starting processes, which take most of the time of a small build."""
    return store.build_with(decode_in_process, data_dir, paths, verify=verify, rehash=rehash, progress=False)


def wait_until_settled(files: Iterable[Path]) -> None:
    """Wait until the index trusts the times of recently written files."""
    for file in files:
        while not FileState.of(file).settled:
            time.sleep(0.01)
