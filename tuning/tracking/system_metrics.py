"""What the machine that a sweep runs on has to do meanwhile, as MLflow's own monitors see it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

INTERVAL = 30.0
"""Seconds between two looks."""


@contextmanager
def machine_watched(tell: Callable[[Mapping[str, float]], None], interval: float = INTERVAL) -> Iterator[None]:
    """Look now and then, from a thread of its own, while something else goes on.

    Args:
        tell: gets the figures of each look, named as MLflow's pages expect them.
        interval: seconds between two looks.
    """
    monitors, ended = _monitors(), threading.Event()

    def watch() -> None:
        while not ended.wait(interval):
            tell(_look(monitors))

    thread = threading.Thread(target=watch, name="machine", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell(_look(monitors))


def _look(monitors: list[Any]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        figures |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return figures


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        monitors.append(GPUMonitor())
    except Exception as error:  # It raises whatever NVIDIA's library does where there is no GPU, or no library.
        logging.getLogger(__name__).debug("no GPU is watched: %s", error)
    return monitors
