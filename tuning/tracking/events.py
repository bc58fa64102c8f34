"""What a sweep tells of itself, entry by entry: its trials' starts, epochs and ends, its champion, its test.

Each entry is a line of JSON in the run's spool; whoever receives them may get one twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tuning.search.titles import trial_title
from tuning.search.trial_result import TrialResult
from tuning.tracking.outbox import Spool
from tuning.training.timing import TIME_METRICS

METRICS = (
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1", "lr", "micro_batch", "seconds"),
    *TIME_METRICS,
)
"""Of an epoch."""


def _now() -> int:
    return int(time.time() * 1000)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="constants")

    time: int = Field(default_factory=_now)
    """When it happened, in milliseconds since 1970: a figure that is sent twice must bear the same time."""


class SweepOpened(_Entry):
    """A process began, or went on with, the sweep."""

    what: Literal["sweep opened"] = "sweep opened"


class TrialStarted(_Entry):
    """A trial began, or went on after a restart."""

    what: Literal["trial started"] = "trial started"
    trial: str
    title: str
    params: dict[str, str]


class EpochDone(_Entry):
    """One epoch's figures."""

    what: Literal["epoch done"] = "epoch done"
    trial: str
    epoch: int
    metrics: dict[str, float]


class TrialEnded(_Entry):
    """What a trial came to."""

    what: Literal["trial ended"] = "trial ended"
    trial: str
    status: str
    """As in `TrialResult`."""
    best: dict[str, float]
    """Figures of its best epoch; empty if it has none."""


class ChampionChosen(_Entry):
    """The champion's checkpoint lies in the run's `best/`."""

    what: Literal["champion chosen"] = "champion chosen"
    trial: str
    model_name: str
    """Under which it is registered."""


class Tested(_Entry):
    """The champion's test report lies in the run's `test/`."""

    what: Literal["tested"] = "tested"
    promote: str = "better"
    """As in `TrackingConfig`."""


class Reported(_Entry):
    """Pages about the sweep lie in the run's `report/`."""

    what: Literal["reported"] = "reported"


class MachineSeen(_Entry):
    """What the machine that the sweep runs on had to do."""

    what: Literal["machine seen"] = "machine seen"
    metrics: dict[str, float]


class SweepEnded(_Entry):
    """The sweep ended: `FINISHED`, `FAILED` or `KILLED`."""

    what: Literal["sweep ended"] = "sweep ended"
    status: str


Entry = Annotated[
    SweepOpened | TrialStarted | EpochDone | TrialEnded | ChampionChosen | Tested | Reported | MachineSeen | SweepEnded,
    Field(discriminator="what"),
]
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)


def read_entry(line: str) -> Entry:
    """One line of the spool.

    Raises:
        ValueError: it is no entry.
    """
    return _ENTRY.validate_json(line)


class Journal:
    """Writes entries to a spool; what it holds already, from this process or an earlier one, is not told again."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._epochs: dict[str, set[int]] = {}
        self._ended: dict[str, TrialEnded] = {}
        self._full = False
        self.finished = False
        """Whether the sweep has ended well, and none has opened it again since."""
        for line, _ in spool.lines():
            try:
                self._learn(read_entry(line))
            except ValidationError:
                continue

    def open_sweep(self) -> None:
        """A process is at work on it."""
        self._tell(SweepOpened())

    def start_trial(self, trial: str, choice: Mapping[str, Any]) -> None:
        """A trial runs, with this value on each axis."""
        params = {axis: str(value) for axis, value in choice.items()}
        self._tell(TrialStarted(trial=trial, title=trial_title(choice), params=params))

    def has_told(self, trial: str, epochs: int) -> bool:
        """Whether it holds the first so many epochs of a trial."""
        return self._epochs.get(trial, set()) >= set(range(1, epochs + 1))

    def log_epoch(self, trial: str, epoch: int, metrics: Mapping[str, Any]) -> None:
        """One epoch's figures, once, though a restarted trial may report it twice."""
        if epoch not in self._epochs.get(trial, ()):
            self._tell(EpochDone(trial=trial, epoch=epoch, metrics={key: float(metrics[key]) for key in METRICS}))

    def end_trials(self, results: Sequence[TrialResult]) -> None:
        """How each trial ended, and the epochs of which a killed sweep had not heard."""
        for row in results:
            if row.id not in self._epochs:
                if not row.history:
                    continue
                self.start_trial(row.id, row.choice_with_seed)
            for epoch, metrics in enumerate(row.history, 1):
                self.log_epoch(row.id, epoch, metrics)
            best = {
                "best_val_macro_f1": row.val_macro_f1,
                "best_val_accuracy": row.val_accuracy,
                "best_epoch": float(row.best_epoch),
            }
            ended = TrialEnded(trial=row.id, status=row.status, best=best if row.best_epoch else {})
            known = self._ended.get(row.id)
            if known is None or known.model_copy(update={"time": ended.time}) != ended:
                self._tell(ended)

    def choose_champion(self, trial: str, model_name: str) -> None:
        """Its checkpoint lies in `best/`."""
        self._tell(ChampionChosen(trial=trial, model_name=model_name))

    def report_test(self, promote: str = "better") -> None:
        """The report lies in `test/`; whether the registered model becomes champion by it."""
        self._tell(Tested(promote=promote))

    def report_page(self) -> None:
        """Pages lie in `report/`."""
        self._tell(Reported())

    def see_machine(self, metrics: Mapping[str, float]) -> None:
        """What it has to do just now."""
        self._tell(MachineSeen(metrics=dict(metrics)))

    def end_sweep(self, status: str) -> None:
        """`FINISHED`, `FAILED` or `KILLED`."""
        self._tell(SweepEnded(status=status))

    def _tell(self, entry: Entry) -> None:
        """What a full disk does not take is told at the end, if by then there is room."""
        if self.spool.append(entry.model_dump_json()):
            self._learn(entry)
        elif not self._full:
            self._full = True
            print(f"note: {self.spool.file} can't be written: what it misses is told at the sweep's end", flush=True)

    def _learn(self, entry: Entry) -> None:
        if isinstance(entry, TrialStarted):
            self._epochs.setdefault(entry.trial, set())
            self._ended.pop(entry.trial, None)
        elif isinstance(entry, EpochDone):
            self._epochs.setdefault(entry.trial, set()).add(entry.epoch)
        elif isinstance(entry, TrialEnded):
            self._ended[entry.trial] = entry
        elif isinstance(entry, SweepOpened):
            self.finished = False
        elif isinstance(entry, SweepEnded):
            self.finished = entry.status == "FINISHED"
