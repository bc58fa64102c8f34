"""Choose the trial of each architecture that needs the most memory and time, to profile it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tuning.config.schema.space import TRAIN_PREFIX, LogRange
from tuning.config.schema.train import TrainConfig
from tuning.config.subspace import Subspace
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig

_T = TypeVar("_T")


def heaviest_trials(sweep: SweepConfig) -> list[TrialConfig]:
    """Return for each architecture the trial that probably needs the most memory and time."""
    heaviest: dict[str, tuple[float, TrialConfig]] = {}
    for subspace in sweep.subspaces():
        load, trial = max(
            (_estimate(sweep, subspace, train) for train in sweep.train_configs(subspace)),
            key=lambda estimate: estimate[0],
        )
        if subspace.arch not in heaviest or load > heaviest[subspace.arch][0]:
            heaviest[subspace.arch] = load, trial
    return [trial for _, trial in heaviest.values()]


def _estimate(sweep: SweepConfig, subspace: Subspace, train: TrainConfig) -> tuple[float, TrialConfig]:
    """Return the largest trial of a subspace with these training settings, and its load relative to others."""
    choice = {axis: _largest(values) for axis, values in subspace.axes.items() if not axis.startswith(TRAIN_PREFIX)}
    # Weights change neither memory nor time, but stored features are those of one set of weights.
    weights = "none" if train.stored_views is None else choice["weights"]
    choice |= {"weights": weights, "sampler": "imbalanced", "loss": "plain", "lr": 1e-6}
    # Compiling takes minutes.
    uncompiled = train.model_copy(update={"compile": False})
    trial = TrialConfig.from_choice(sweep, choice).model_copy(update={"train": uncompiled})
    pixels = trial.train.max_micro_batch * trial.num_frames * trial.train.size**2
    return pixels * _activation_share(train), trial


def _activation_share(train: TrainConfig) -> float:
    """Return roughly which share of a forward pass's activations the backward pass needs."""
    if train.stored_views is not None:
        return 0.001
    # A frozen backbone saves no activations.
    share = 1.0 if train.trainable == "all" or train.unfreeze_every else 0.2 if train.trainable == "head" else 0.5
    return share * (0.4 if train.checkpoint_activations else 1.0)


def _largest(values: Sequence[_T] | LogRange) -> _T | float:
    """Return the largest number, or the first value if not all are numbers."""
    if isinstance(values, LogRange):
        return values.high
    numbers = [value for value in values if isinstance(value, int | float)]
    return max(numbers) if len(numbers) == len(values) else values[0]
