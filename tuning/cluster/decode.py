"""Decode clips into the frame store on all nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.store.store_clip import ClipResult, PendingClip, StoreClip, decode_locally
from tuning.cluster.chunk_tasks import run_in_chunks


def build_on_cluster(
    store: FrameStore,
    data_dir: Path,
    paths: Sequence[str],
    *,
    seconds_per_clip: float = 300.0,
    verify: bool = True,
    rehash: bool = False,
    progress: bool = True,
) -> BuildReport:
    """Build the frame store as `FrameStore.build` does, decoding on all CPUs of the connected cluster.

    Every node must reach the clips and the store's root by the paths given here, and import this project's `data` (as
    within `cluster.connect.connected`). A clip that crashes the decoder or exceeds the time limit fails alone. If a
    node dies, the clips that it was decoding are decoded again elsewhere; those that it had stored count as found, not
    as decoded. Only this process writes the index.

    Args:
        store: the store to fill.
        data_dir: folder of the clips.
        paths: clips, relative to `data_dir`.
        seconds_per_clip: time limit per clip.
        verify: as `FrameStore.build`.
        rehash: as `FrameStore.build`.
        progress: show a progress bar.

    Raises:
        ClusterError: a task has failed `TASK_RETRIES` times.
        DataError: as `FrameStore.build`.
    """
    # Absolute, since workers have another working directory.
    root = store.root if "://" in str(store.root) else Path(store.root).absolute()
    store = replace(store, root=root, local=store.local.absolute() if store.local is not None else None)
    decode = partial(_decode_on_nodes, seconds=seconds_per_clip, count=len(paths))
    return store.build_with(decode, data_dir.absolute(), paths, verify=verify, rehash=rehash, progress=progress)


def _decode_on_nodes(
    store_clip: StoreClip, clips: Iterable[PendingClip], *, seconds: float, count: int
) -> Generator[ClipResult, None, None]:
    decode = partial(_decode_chunk, store_clip, seconds)
    yield from run_in_chunks(decode, clips, count=count, purpose="the frame store")


def _decode_chunk(store_clip: StoreClip, seconds: float, chunk: list[PendingClip]) -> list[ClipResult]:
    """Decode on a node, in one process that is replaced when a clip crashes it."""
    return list(decode_locally(store_clip, chunk, workers=1, seconds=seconds))
