"""Plan how a sweep uses the cluster: resources of a trial, max concurrent trials, duration, and what stays idle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuning.cluster.placement import NodeResources, count_workers, plan_slots
from tuning.cluster.plan_warnings import plan_warnings
from tuning.cluster.profile_task import SweepProfile
from tuning.cluster.time_estimate import estimate_seconds, format_duration
from tuning.config.sweep_config import SweepConfig
from tuning.training.trial_data import TrialData
from tuning.trial.spec import Slot

_NODES_SHOWN = 4


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """How a sweep uses the cluster."""

    slot: Slot
    """Resources of one trial."""
    max_concurrent: int
    """Trials that run concurrently."""
    trials: int
    """Trials of the search."""
    finalists: int
    """Trials of the finals, which run after the search."""
    nodes: tuple[tuple[str, int], ...]
    """Address of each node that fits workers, and how many it fits."""
    seconds: float | None
    """Duration at most, as profiled; None if an architecture could not be profiled."""
    ends_early: bool
    """Whether trials may be stopped before they have trained all epochs."""
    warnings: tuple[str, ...]

    def text(self) -> str:
        """Return the plan as lines for the user to read before the sweep starts."""
        finals = f", then {self.finalists} of finalists" if self.finalists else ""
        concurrent = min(self.max_concurrent, self.trials)
        lines = [
            f"plan: {self.trials} trials{finals}, {concurrent} concurrently on {self._nodes_text()}",
            f"      each trial takes {self.slot.summary}",
        ]
        if self.seconds is not None:
            sooner = ", less if trials are stopped early" if self.ends_early else ""
            lines.append(f"      estimate: at most about {format_duration(self.seconds)}{sooner}")
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _nodes_text(self) -> str:
        if not self.nodes:
            return "nodes that are yet to join"
        shown = ", ".join(f"{address or 'node'} ({workers})" for address, workers in self.nodes[:_NODES_SHOWN])
        more = f" and {len(self.nodes) - _NODES_SHOWN} more" if len(self.nodes) > _NODES_SHOWN else ""
        return f"{len(self.nodes)} node(s) that fit workers: {shown}{more}"


def plan_sweep(
    config: SweepConfig, data: TrialData, profile: SweepProfile, nodes: Sequence[NodeResources]
) -> SweepPlan:
    """Return how a sweep uses these nodes.

    Raises:
        ClusterError: no trial fits.
    """
    slot, max_concurrent = plan_slots(config.resources, nodes, profile)
    trials = config.search.trials or len(config.choices() or ())
    finals = config.search.finalists
    return SweepPlan(
        slot=slot,
        max_concurrent=max_concurrent,
        trials=trials,
        finalists=min(finals.top, trials) * finals.seeds if finals else 0,
        nodes=tuple((node.address, workers) for node in nodes if (workers := count_workers(node, slot))),
        seconds=estimate_seconds(config, data, profile, slot, max_concurrent=max_concurrent, trials=trials),
        ends_early=config.search.stops_trials or config.train.patience is not None,
        warnings=plan_warnings(config, profile, nodes, slot, max_concurrent=max_concurrent, trials=trials),
    )
