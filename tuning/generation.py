"""Where a trial stands in a population; light to import, since every trial's driver does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tuning.config import SweepConfig

_GENERATION = "generation"


@dataclass(frozen=True, slots=True)
class Generation:
    """Where a trial stands in a population; without a population trials stay in the first generation."""

    start: int = 0
    """Epochs that its weights were trained for before."""
    parent: str = ""
    """Checkpoint that it starts from; empty in the first."""
    donor: str = ""
    """The trial that weights and settings were taken over from, if they were."""
    changes: str = ""
    """In which settings it differs from the donor, for people: `lr 0.001 -> 0.0012`."""
    earlier: tuple[str, ...] = ()
    """The trial's own Train runs that led to `parent`, the first one first; none after it took over."""

    @classmethod
    def of(cls, choice: Mapping[str, Any]) -> Generation:
        """The one that a trial's values in Tune speak of."""
        known = dict(choice.get(_GENERATION, {}))
        return cls(**known | {"earlier": tuple(known.get("earlier", ()))})

    @property
    def told(self) -> str:
        """From where it went on and what changed, for people."""
        return ", ".join(filter(None, (self.donor, self.changes)))

    def run_name(self, trial_id: str) -> str:
        """The Train run's name: a driver that is started again finds its run's checkpoints by it."""
        return f"{trial_id}-epoch{self.start:04d}" if self.start else trial_id

    def runs(self, trial_id: str) -> tuple[str, ...]:
        """The trial's Train runs whose weights its own come from, this one last."""
        return (*self.earlier, self.run_name(trial_id))

    def end(self, sweep: SweepConfig) -> int:
        """Epochs after which it ends."""
        if sweep.search.pbt is None:
            return sweep.train.epochs
        return min(self.start + sweep.search.pbt.interval_epochs, sweep.train.epochs)


def own_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's value on each axis, of what Tune keeps as its configuration."""
    return {axis: value for axis, value in choice.items() if axis != _GENERATION}


def with_generation(choice: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
    """What Tune keeps as a trial's configuration, as plain values."""
    return {**own_choice(choice), _GENERATION: {**asdict(generation), "earlier": list(generation.earlier)}}
