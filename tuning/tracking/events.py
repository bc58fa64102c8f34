"""Events of a sweep: starts, epochs and ends of trials, the champion, its test.

Each event is a line of JSON in the run's outbox. A receiver may get an event twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tuning.search.titles import trial_title
from tuning.search.trial_result import TrialResult
from tuning.tracking.outbox import Outbox
from tuning.training.epoch_metrics import EPOCH_METRICS


def _now() -> int:
    return int(time.time() * 1000)


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="constants")

    time: int = Field(default_factory=_now)
    """When it happened, in milliseconds since 1970. A metric that is sent twice must have the same time."""


class SweepOpened(_Event):
    """A process started or resumed the sweep."""

    what: Literal["sweep opened"] = "sweep opened"


class TrialStarted(_Event):
    """A trial started, or resumed after a restart."""

    what: Literal["trial started"] = "trial started"
    trial: str
    title: str
    params: dict[str, str]


class EpochDone(_Event):
    """A trial finished an epoch."""

    what: Literal["epoch done"] = "epoch done"
    trial: str
    epoch: int
    metrics: dict[str, float]


class TrialEnded(_Event):
    """A trial ended."""

    what: Literal["trial ended"] = "trial ended"
    trial: str
    status: str
    """As in `TrialResult`."""
    best: dict[str, float]
    """Metrics of its best epoch; empty if it has none."""


class ChampionChosen(_Event):
    """The champion's checkpoint is in the run's `best/`."""

    what: Literal["champion chosen"] = "champion chosen"
    trial: str
    model_name: str
    """Name under which the champion is registered."""


class ChampionTested(_Event):
    """The champion's test report is in the run's `test/`."""

    what: Literal["tested"] = "tested"
    promote: str = "better"
    """As in `TrackingConfig`."""


class ReportWritten(_Event):
    """The sweep's HTML report is in the run's `report/`."""

    what: Literal["reported"] = "reported"


class SystemMetricsSampled(_Event):
    """The load of the machine that runs the sweep."""

    what: Literal["machine seen"] = "machine seen"
    metrics: dict[str, float]


class SweepEnded(_Event):
    """The sweep ended: `FINISHED`, `FAILED` or `KILLED`."""

    what: Literal["sweep ended"] = "sweep ended"
    status: str


Event = Annotated[
    SweepOpened
    | TrialStarted
    | EpochDone
    | TrialEnded
    | ChampionChosen
    | ChampionTested
    | ReportWritten
    | SystemMetricsSampled
    | SweepEnded,
    Field(discriminator="what"),
]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(line: str) -> Event:
    """Parse one line of the outbox.

    Raises:
        ValueError: the line is not an event.
    """
    return _EVENT.validate_json(line)


class EventLog:
    """Appends events to an outbox; events that it contains already, from any process, are not appended again."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._epochs: dict[str, set[int]] = {}
        self._ended: dict[str, TrialEnded] = {}
        self._disk_full = False
        self.finished = False
        """Whether the sweep ended as `FINISHED` and was not opened again since."""
        for line, _ in outbox.lines():
            try:
                self._remember(parse_event(line))
            except ValidationError:
                continue

    def log_sweep_opened(self) -> None:
        """Log that a process works on the sweep."""
        self._append(SweepOpened())

    def log_trial_start(self, trial: str, choice: Mapping[str, Any]) -> None:
        """Log the start of a trial, with its value on each axis."""
        params = {axis: str(value) for axis, value in choice.items()}
        self._append(TrialStarted(trial=trial, title=trial_title(choice), params=params))

    def has_epochs(self, trial: str, epochs: int) -> bool:
        """Return whether the first `epochs` epochs of a trial are logged."""
        return self._epochs.get(trial, set()) >= set(range(1, epochs + 1))

    def log_epoch(self, trial: str, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Log the metrics of an epoch, once: a restarted trial may report it twice."""
        if epoch not in self._epochs.get(trial, ()):
            # The history of a run that is older than a metric lacks it.
            present = {key: float(metrics[key]) for key in EPOCH_METRICS if key in metrics}
            self._append(EpochDone(trial=trial, epoch=epoch, metrics=present))

    def log_trial_ends(self, results: Sequence[TrialResult]) -> None:
        """Log how each trial ended, and the epochs that a killed sweep missed.

        A trial that started but is not among the results was killed before Tune saved that it exists.
        """
        for trial in sorted(self._epochs.keys() - self._ended.keys() - {row.id for row in results}):
            self._append(TrialEnded(trial=trial, status="unfinished", best={}))
        for row in results:
            if row.id not in self._epochs:
                if not row.history:
                    continue
                self.log_trial_start(row.id, row.choice_with_seed)
            for epoch, metrics in enumerate(row.history, 1):
                self.log_epoch(row.id, epoch, metrics)
            best = {
                "best_val_macro_f1": row.val_macro_f1,
                "best_val_accuracy": row.val_accuracy,
                "best_epoch": float(row.best_epoch),
            }
            ended = TrialEnded(trial=row.id, status=row.status, best=best if row.best_epoch else {})
            logged = self._ended.get(row.id)
            if logged is None or logged.model_copy(update={"time": ended.time}) != ended:
                self._append(ended)

    def log_champion(self, trial: str, model_name: str) -> None:
        """Log that the champion's checkpoint is in `best/`."""
        self._append(ChampionChosen(trial=trial, model_name=model_name))

    def log_test(self, promote: str = "better") -> None:
        """Log that the test report is in `test/`, and when to promote the registered model."""
        self._append(ChampionTested(promote=promote))

    def log_report(self) -> None:
        """Log that the HTML report is in `report/`."""
        self._append(ReportWritten())

    def log_system_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log the machine's load."""
        self._append(SystemMetricsSampled(metrics=dict(metrics)))

    def log_sweep_end(self, status: str) -> None:
        """Log the end of the sweep: `FINISHED`, `FAILED` or `KILLED`."""
        self._append(SweepEnded(status=status))

    def _append(self, event: Event) -> None:
        """Append an event. `log_trial_ends` appends those that a full disk loses, once there is space."""
        if self.outbox.append(event.model_dump_json()):
            self._remember(event)
        elif not self._disk_full:
            self._disk_full = True
            print(
                f"note: {self.outbox.file} can't be written: epochs that MLflow lacks are sent at the end of the "
                "sweep if the disk has space then",
                flush=True,
            )

    def _remember(self, event: Event) -> None:
        if isinstance(event, TrialStarted):
            self._epochs.setdefault(event.trial, set())
            self._ended.pop(event.trial, None)
        elif isinstance(event, EpochDone):
            self._epochs.setdefault(event.trial, set()).add(event.epoch)
        elif isinstance(event, TrialEnded):
            self._ended[event.trial] = event
        elif isinstance(event, SweepOpened):
            self.finished = False
        elif isinstance(event, SweepEnded):
            self.finished = event.status == "FINISHED"
