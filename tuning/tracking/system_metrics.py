"""The load of the machine that runs the sweep, by MLflow's own monitors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

INTERVAL_SECONDS = 30.0


@contextmanager
def sample_system_metrics(
    log: Callable[[Mapping[str, float]], None], interval: float = INTERVAL_SECONDS
) -> Iterator[None]:
    """Sample system metrics from a background thread, every `interval` seconds and once at the end.

    Args:
        log: gets the metrics of each sample, named as MLflow's pages expect them.
        interval: seconds between two samples.
    """
    monitors, stopped = _monitors(), threading.Event()

    def run() -> None:
        while not stopped.wait(interval):
            log(_sample(monitors))

    thread = threading.Thread(target=run, name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        log(_sample(monitors))


def _sample(monitors: list[Any]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        metrics |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return metrics


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        monitors.append(GPUMonitor())
    except Exception as error:  # Any error of NVIDIA's library, when there is no GPU or the library is missing.
        logging.getLogger(__name__).debug("no GPU metrics: %s", error)
    return monitors
