"""Filling the frame store with all nodes of a Ray cluster; the store's root must be reached by all of them."""

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

CLIPS_A_TASK = 32
"""At most; so that a task takes long beside the start of its decoding process, and little is lost with a node."""

RETRIES = 5
"""Of a task whose node or process is lost."""


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
    """`FrameStore.build`, decoding on all CPUs of the connected cluster.

    Every node must reach the clips and the store's root by the paths given here, and import this project's `data` (as
    under `cluster.connect.connected`). A clip that crashes the decoder or takes too long costs that clip alone, a
    node that is lost costs the clips that it was decoding. Clips that a lost node had stored count as found, not as
    decoded. This process alone writes the index.

    Raises:
        ClusterError: a part of the work was lost `RETRIES` times over.
        DataError: as `FrameStore.build`.
    """
    # A worker's working directory is another.
    root = store.root if "://" in str(store.root) else Path(store.root).absolute()
    store = replace(store, root=root, local=store.local.absolute() if store.local is not None else None)
    cpus = max(1, int(ray.cluster_resources().get("CPU", 0)))
    a_task = max(1, min(CLIPS_A_TASK, len(paths) // (4 * cpus)))
    decode = partial(_decode_on_nodes, seconds=seconds_per_clip, clips_a_task=a_task, at_once=2 * cpus)
    return store.build_with(decode, data_dir.absolute(), paths, verify=verify, rehash=rehash, progress=progress)


def _decode_on_nodes(
    store_clip: StoreClip, jobs: Iterable[PendingClip], *, seconds: float, clips_a_task: int, at_once: int
) -> Generator[ClipResult, None, None]:
    task = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(_decode_chunk)
    chunks, running = _chunks(jobs, clips_a_task), list[ray.ObjectRef]()
    try:
        while True:
            running += [task.remote(store_clip, chunk, seconds) for chunk in islice(chunks, at_once - len(running))]
            if not running:
                return
            (done,), running = ray.wait(running, num_returns=1)
            yield from ray.get(done)
    except RayTaskError as error:
        # As it was raised there, not wrapped with its remote traceback.
        raise error.cause from None
    except RayError as error:
        raise ClusterError(
            f"a part of the frame store could not be built: {' '.join(str(error).split())[:300]}; what is stored is "
            "kept, start again to go on"
        ) from None
    finally:
        for left in running:
            ray.cancel(left, force=True)


def _chunks(jobs: Iterable[PendingClip], size: int) -> Iterator[list[PendingClip]]:
    source = iter(jobs)
    while chunk := list(islice(source, size)):
        yield chunk


def _decode_chunk(store_clip: StoreClip, chunk: list[PendingClip], seconds: float) -> list[ClipResult]:
    """Runs on a node, as a task of one CPU: one decoding process, replaced when a clip crashes it."""
    return list(decode_locally(store_clip, chunk, workers=1, seconds=seconds))
