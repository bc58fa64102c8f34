"""Decode clips into the frame store on all nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import ray
from ray.exceptions import RayError, RayTaskError

from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.store.store_clip import ClipResult, PendingClip, StoreClip, decode_locally
from tuning.cluster.address import ClusterError

MAX_CLIPS_PER_TASK = 32
"""A compromise: starting a task's decoding process takes seconds, and a lost node loses its tasks' clips."""

TASK_RETRIES = 5
"""For a task whose process or node dies."""


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
    cpus = max(1, int(ray.cluster_resources().get("CPU", 0)))
    clips_per_task = max(1, min(MAX_CLIPS_PER_TASK, len(paths) // (4 * cpus)))
    decode = partial(_decode_on_nodes, seconds=seconds_per_clip, clips_per_task=clips_per_task, max_tasks=2 * cpus)
    return store.build_with(decode, data_dir.absolute(), paths, verify=verify, rehash=rehash, progress=progress)


def _decode_on_nodes(
    store_clip: StoreClip, jobs: Iterable[PendingClip], *, seconds: float, clips_per_task: int, max_tasks: int
) -> Generator[ClipResult, None, None]:
    task = ray.remote(num_cpus=1, max_retries=TASK_RETRIES, scheduling_strategy="SPREAD")(_decode_chunk)
    chunks, running = _chunks(jobs, clips_per_task), list[ray.ObjectRef]()
    try:
        while True:
            running += [task.remote(store_clip, chunk, seconds) for chunk in islice(chunks, max_tasks - len(running))]
            if not running:
                return
            (done,), running = ray.wait(running, num_returns=1)
            yield from ray.get(done)
    except RayTaskError as error:
        # The original exception, without the wrapper that holds its remote traceback.
        raise error.cause from None
    except RayError as error:
        raise ClusterError(
            f"the frame store could not be completed: {' '.join(str(error).split())[:300]}; run the command again to "
            "decode the clips that are missing"
        ) from None
    finally:
        for task_ref in running:
            ray.cancel(task_ref, force=True)


def _chunks(jobs: Iterable[PendingClip], size: int) -> Iterator[list[PendingClip]]:
    source = iter(jobs)
    while chunk := list(islice(source, size)):
        yield chunk


def _decode_chunk(store_clip: StoreClip, chunk: list[PendingClip], seconds: float) -> list[ClipResult]:
    """Decode on a node, in one process that is replaced when a clip crashes it."""
    return list(decode_locally(store_clip, chunk, workers=1, seconds=seconds))
