"""Section `search`: how the space is searched."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tuning.config.schema.base import Settings


class AshaConfig(Settings):
    """Early stopping by asynchronous successive halving (ASHA, arXiv 1810.05934)."""

    grace_epochs: int = Field(2, ge=1)
    """Epochs that every trial trains before it can be stopped. If it is not set, it is at most `train.epochs`."""
    reduction_factor: int = Field(3, ge=2)
    """At each rung the best one in `reduction_factor` trials continues. The first rung is after `grace_epochs`, each
    further one after `reduction_factor` times as many epochs."""


class FinalistsConfig(Settings):
    """Repetition of the best choices with other seeds, so that a lucky seed does not win."""

    top: int = Field(3, ge=1)
    """Number of choices to repeat, best first by the search."""
    seeds: int = Field(3, ge=2)
    """Trials per choice, each with a seed that the search did not use. The best mean wins; the champion is its median
    trial."""


class SearchConfig(Settings):
    """How the space is searched and how trials are ranked."""

    algorithm: Literal["grid", "random", "optuna"] = "grid"
    """`grid`: every combination. `random`: `trials` random combinations, all different. `optuna`: `trials` combinations
    proposed by Optuna's TPE sampler."""
    trials: int | None = Field(None, ge=1)
    """Number of trials of `random` and `optuna` search, which need it. Leave it out for `grid`."""
    asha: AshaConfig | None = AshaConfig()
    """Early stopping of trials that fall behind. `null`: every trial trains all its epochs."""
    metric: Literal["val_macro_f1", "val_accuracy"] = "val_macro_f1"
    """Validation metric that ranks epochs and trials."""
    seed: int = Field(0, ge=0)
    """Seed of random and Optuna search."""
    finalists: FinalistsConfig | None = None
    """After the search, train the best choices again with other seeds and choose the champion among them. `null`: the
    best trial of the search is the champion."""

    @property
    def stops_trials(self) -> bool:
        """Whether the scheduler may stop a trial before its last epoch."""
        return self.asha is not None

    @property
    def finalist_seeds(self) -> int | None:
        """Trials per finalist; None without finalists."""
        return self.finalists.seeds if self.finalists else None
