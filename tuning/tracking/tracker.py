"""The connection of a run to MLflow: events go to the outbox, a sender hands them to the writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tuning.config.redact import redact_uri
from tuning.config.run_folder import RunFolder
from tuning.tracking.events import EventLog
from tuning.tracking.mlflow_writer import MlflowWriter
from tuning.tracking.moved_sweep import load_sweep
from tuning.tracking.outbox import Outbox, OutboxSender


@dataclass(frozen=True, slots=True)
class Tracker:
    """Logs events of a run and sends them to MLflow."""

    events: EventLog
    writer: MlflowWriter
    sender: OutboxSender
    unavailable: str = ""
    """Why nothing can be written to MLflow, however long one waits; empty if it can."""

    def send(self, patience: float) -> str:
        """Send pending events, and wait up to `patience` seconds if MLflow is unavailable.

        Returns:
            How many events are still pending and why, in one line; empty if all were sent.
        """
        reason = self.sender.send_all(0 if self.unavailable else patience)
        if not reason:
            return ""
        file = self.events.outbox.file.name
        return f"{self.sender.count_pending()} events of {file} are not sent to {self.sender.receiver} yet ({reason})"

    def flush(self, patience: float) -> None:
        """Send pending events as `send` does; print a note if any remain."""
        unsent = self.send(patience)
        if unsent:
            print(f"note: {unsent}", flush=True)


@contextmanager
def open_tracker(run: RunFolder) -> Iterator[Tracker]:
    """Yield the tracker of a run, which one process can open at a time.

    Raises:
        OutboxLocked: another process works on the run.
    """
    outbox, (sweep, unavailable) = Outbox(run.outbox), load_sweep(run)
    with outbox.lock():
        writer = MlflowWriter(sweep, run, unavailable)
        sender = OutboxSender(outbox, writer.write, f"MLflow at {redact_uri(sweep.uri)}")
        yield Tracker(EventLog(outbox), writer, sender, unavailable)
