"""Section `resources`: what a trial takes of the machine or cluster."""

from __future__ import annotations

from pydantic import Field, model_validator

from tuning.config.schema.base import Settings


class ResourcesConfig(Settings):
    """What each trial takes of the machine or cluster."""

    workers: int = Field(1, ge=1)
    """Training workers per trial. Several workers share each epoch's clips and average their gradients."""
    cpus: float | None = Field(None, gt=0)
    """CPUs per worker. `null`: 1 without a GPU, else `gpus` times the number of CPUs per GPU of the nodes with GPUs, at
    most 8."""
    gpus: float | None = Field(None, ge=0)
    """GPUs per worker, or a fraction of one. `null`: 0 without GPUs, else 1, or 1/2 to 1/4 if the profile shows that
    several trials fit on the smallest GPU and one alone does not keep it busy."""
    memory: float | None = Field(None, gt=0)
    """Main memory per worker in GB (10⁹ bytes). `null`: the peak memory of the largest profiled model plus a tenth."""
    measure: bool = True
    """Profile a few training steps of each architecture before a sweep, to plan resources and estimate the time.
    `false`: a trial takes a whole GPU, reserves no memory, and no time is estimated."""
    max_concurrent: int | None = Field(None, ge=1)
    """Max concurrent trials. `null`: as many as fit. Set it where an autoscaler starts nodes on demand."""
    reuse_workers: bool = True
    """Train the next trial in the processes of the one before it, which saves several seconds per trial but relies on
    internals of the pinned Ray release. `false`: use Ray's public API alone. The leaderboard is the same, but trials
    start more slowly and the cluster needs Ray's dashboard (`ray[default]`, `--include-dashboard=true`): without it a
    trial that is stopped early never frees its CPUs and GPUs."""

    @model_validator(mode="after")
    def _one_worker_per_gpu(self) -> ResourcesConfig:
        if self.workers > 1 and self.gpus is not None and 0 < self.gpus < 1:
            raise ValueError(
                f"gpus is {self.gpus:g} and workers is {self.workers}: NCCL refuses two workers of a trial on one GPU; "
                "give each a whole one (gpus=1), or set workers to 1"
            )
        return self

    @model_validator(mode="after")
    def _whole_above_one(self) -> ResourcesConfig:
        for name in ("cpus", "gpus"):
            value = getattr(self, name)
            if value is not None and value > 1 and value != int(value):
                raise ValueError(f"{name} is {value:g}: above 1 Ray takes whole numbers only")
        return self
