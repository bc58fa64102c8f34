"""Run a function over chunks of items in tasks on all nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from tuning.cluster.address import ClusterError

Item = TypeVar("Item")
Output = TypeVar("Output")

TASK_RETRIES = 5
"""For a task whose process or node dies."""

_MAX_ITEMS_PER_TASK = 32
"""A compromise: starting a task takes seconds, and a lost node loses its tasks' items."""


def run_in_chunks(
    function: Callable[[list[Item]], list[Output]],
    items: Iterable[Item],
    *,
    count: int,
    purpose: str,
    gpu: bool = False,
) -> Generator[Output, None, None]:
    """Call a function for chunks of items in Ray tasks; yield its results as they come, in any order.

    The tasks of a node that dies run elsewhere. Those that run end when the caller closes the generator.

    Args:
        function: can be pickled; its exceptions are raised here.
        items: can be pickled; drawn as tasks end.
        count: number of items, which decides how many a task gets.
        purpose: what could not be completed, for the message.
        gpu: give each task a GPU, rather than a CPU.

    Raises:
        ClusterError: a task has failed `TASK_RETRIES` times.
    """
    slots = max(1, int(ray.cluster_resources().get("GPU" if gpu else "CPU", 0)))
    chunks = _chunks(items, max(1, min(_MAX_ITEMS_PER_TASK, count // (4 * slots))))
    remote = ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=TASK_RETRIES, scheduling_strategy="SPREAD")
    task, running = remote(_call), list[ray.ObjectRef]()
    try:
        while True:
            running += [task.remote(function, chunk) for chunk in islice(chunks, 2 * slots - len(running))]
            if not running:
                return
            (done,), running = ray.wait(running, num_returns=1)
            yield from ray.get(done)
    except RayTaskError as error:
        # The original exception, without the wrapper that holds its remote traceback.
        raise error.cause from None
    except RayError as error:
        raise ClusterError(
            f"{purpose} could not be completed: {' '.join(str(error).split())[:300]}; run the command again to "
            "compute what is missing"
        ) from None
    finally:
        for task_ref in running:
            ray.cancel(task_ref, force=True)


def _call(function: Callable[[list[Item]], list[Output]], chunk: list[Item]) -> list[Output]:
    return function(chunk)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk
