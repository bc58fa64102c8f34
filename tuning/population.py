"""Population-based training (arXiv 1711.09846): how trials take over each other's weights and settings.

Trials train in generations of `search.pbt.interval_epochs` epochs, each a Train run of its own, so that the checkpoint
at its end stays for whoever starts from it. Between two generations all trials wait, and those that fell behind are
given another's checkpoint and settings near that one's. Who takes over from whom follows from the seed, the epoch and
the scores alone, and is written down before anybody starts: a sweep that was killed goes on with the same population.

Tune's own `PopulationBasedTraining` would do neither: its state is lost when a sweep is resumed, and in synchronous
mode the other trials wait for ever for one that failed.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from tqdm import tqdm

from data.whole_file import write_whole
from tuning.checkpoint import CheckpointError, read_manifest
from tuning.config import SweepConfig
from tuning.config_checks import changeable_axes
from tuning.generation import Generation, own_choice, with_generation
from tuning.results import axis_text, axis_title
from tuning.run_folder import RunFolder
from tuning.settings import LogRange, PbtConfig
from tuning.subspace import Values

_FACTORS = (0.8, 1.2)


def donors(scores: Mapping[str, float | None], quantile: float, rng: random.Random) -> dict[str, str]:
    """From whom the trials that fell behind take over.

    Args:
        scores: of each trial, None if it diverged.
        quantile: share of them that takes over, and that is taken over from.
        rng: draws from whom.

    Returns:
        A better trial for each of the worst, and for all that diverged; nobody if all of them did.
    """
    by_rank = sorted(scores, key=lambda trial: (_or_worst(scores[trial]), trial))
    count = min(math.ceil(len(by_rank) * quantile), len(by_rank) // 2)
    best = [trial for trial in by_rank if scores[trial] is not None][-count:] if count else []
    worst = [trial for place, trial in enumerate(by_rank) if place < count or scores[trial] is None]
    found = {}
    for trial in worst:
        better = [donor for donor in best if _or_worst(scores[donor]) > _or_worst(scores[trial])]
        if better:
            found[trial] = rng.choice(better)
    return found


def _or_worst(score: float | None) -> float:
    return -math.inf if score is None else score


def explored(
    choice: Mapping[str, Any],
    axes: Mapping[str, Values],
    pbt: PbtConfig,
    allows: Callable[[Mapping[str, Any]], bool],
    rng: random.Random,
) -> dict[str, Any]:
    """Settings near those given, and never the same: equal trials would train the same model twice.

    Args:
        choice: a value for each axis of the space.
        axes: those that may change, and what there is to try on each.
        pbt: how much changes.
        allows: whether a choice is none of those to leave out; a change that leads to such a one is not made.
        rng: draws what changes.
    """
    new = dict(choice)
    while new == dict(choice):
        for axis, values in axes.items():
            again = rng.random() < pbt.resample_probability
            changed = {**new, axis: _moved(choice[axis], values, again, rng)}
            new = changed if allows(changed) else new
    return new


def _moved(value: Any, values: Values, again: bool, rng: random.Random) -> Any:
    if isinstance(values, LogRange):
        drawn = values.drawn(rng)
        near = value * rng.choice(_FACTORS)
        return min(max(drawn if again else near, values.low), values.high)
    # Next to each other are numbers of like size, in whatever order they are listed.
    row = sorted(values) if all(isinstance(each, int | float) for each in values) else list(values)
    place = row.index(value)
    neighbours = [row[beside] for beside in (place - 1, place + 1) if 0 <= beside < len(row)]
    return rng.choice(row if again else neighbours)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A trial at the end of its generation."""

    score: float | None
    """None if it diverged."""
    checkpoint: str


class Population(FIFOScheduler):
    """Tune's scheduler of a population.

    Trials wait as paused ones: those that Tune calls pending it would start by itself, however many run already.
    """

    def __init__(self, sweep: SweepConfig, members: int, at_once: int, run: RunFolder) -> None:
        super().__init__()
        assert sweep.search.pbt is not None
        self.sweep, self.pbt, self.members, self.at_once, self.run = sweep, sweep.search.pbt, members, at_once, run
        self.known: set[str] = set()
        self.arrived: dict[str, _Arrival] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Let a trial wait for its turn; of a resumed sweep in the generation that was written down."""
        if trial.trial_id in self.known:
            return  # Tune starts it again, as its driver died.
        self.known.add(trial.trial_id)
        if trial.status == Trial.PENDING:
            written = _read_state(self.run)["members"]
            if trial.trial_id in written:
                trial.set_config(written[trial.trial_id])
            trial.set_status(Trial.PAUSED)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Let a trial wait that has come to its generation's end, or that has diverged before."""
        end, diverged = Generation.of(trial.config).end(self.sweep), result["status"] == "diverged"
        if result["epoch"] < end and not diverged:
            return TrialScheduler.CONTINUE
        if end == self.sweep.train.epochs:
            return TrialScheduler.STOP
        score = None if diverged else float(result[self.sweep.search.metric])
        self.arrived[trial.trial_id] = _Arrival(score, result.get("checkpoint_path", ""))
        tune_controller.pause_trial(trial, should_checkpoint=False)
        return TrialScheduler.NOOP

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The next one that waits for its turn; once none is left to wait for, the next generation begins."""
        everybody = sorted(tune_controller.get_trials(), key=lambda trial: trial.trial_id)
        live = [trial for trial in everybody if not trial.is_finished()]
        if len(everybody) == self.members and live and all(trial.trial_id in self.arrived for trial in live):
            self._begin_generation(tune_controller, live)
        busy = sum(trial.status in (Trial.RUNNING, Trial.PENDING) for trial in live)
        waiting = (t for t in live if t.status == Trial.PAUSED and t.trial_id not in self.arrived)
        return next(waiting, None) if busy < self.at_once else None

    def _begin_generation(self, tune_controller: Any, live: Sequence[Trial]) -> None:
        arrived, self.arrived = self.arrived, {}
        if all(arrived[trial.trial_id].score is None for trial in live):
            for trial in live:
                tune_controller.stop_trial(trial)
            return
        before = {trial.trial_id: trial.config for trial in live}
        after = self._following(before, arrived)
        rows = [self._row(trial, arrived, before, after) for trial in after if Generation.of(after[trial]).donor]
        _write_state(self.run, after, rows, tuple(changeable_axes(self.sweep)))
        for trial in live:
            generation = Generation.of(after[trial.trial_id])
            if generation.donor:
                tqdm.write(f"epoch {generation.start}: {trial.trial_id} goes on from {generation.told}")
            trial.set_config(after[trial.trial_id])
        _delete_unneeded(self.run.checkpoints, after, self.sweep.search.metric)

    def _following(
        self, before: Mapping[str, Mapping[str, Any]], arrived: Mapping[str, _Arrival]
    ) -> dict[str, dict[str, Any]]:
        """What Tune is to keep of each trial for the next generation, by the trial's id."""
        epoch = Generation.of(next(iter(before.values()))).end(self.sweep)
        # By the order of trials, not their ids, which begin by chance.
        rng = random.Random(f"{self.sweep.search.seed}/{epoch}")
        found = donors({trial: arrived[trial].score for trial in before}, self.pbt.quantile, rng)
        axes = changeable_axes(self.sweep)
        after = {}
        for trial, config in before.items():
            parent = arrived[found.get(trial, trial)].checkpoint
            if trial not in found:
                generation = Generation(epoch, parent, earlier=Generation.of(config).runs(trial))
                after[trial] = with_generation(config, generation)
                continue
            donor = own_choice(before[found[trial]])
            choice = explored(donor, axes, self.pbt, self.sweep.allows, rng)
            after[trial] = with_generation(choice, Generation(epoch, parent, found[trial], _changes(donor, choice)))
        return after

    def _row(
        self,
        trial: str,
        arrived: Mapping[str, _Arrival],
        before: Mapping[str, Mapping[str, Any]],
        after: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Any]:
        generation = Generation.of(after[trial])
        row = {"epoch": generation.start, "trial": trial, "donor": generation.donor}
        row |= {"score": arrived[trial].score, "donor_score": arrived[generation.donor].score}
        for axis in changeable_axes(self.sweep):
            values = (before[trial][axis], before[generation.donor][axis], after[trial][axis])
            row |= dict(zip(_columns(axis), values, strict=True))
        return row


def _columns(axis: str) -> tuple[str, str, str]:
    """Of a setting: what the trial had, what its donor has, and what it goes on with."""
    return f"{axis}_before", f"{axis}_donor", axis


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{axis_title(axis)} {axis_text(axis, old[axis])} -> {axis_text(axis, value)}"
        for axis, value in new.items()
        if value != old[axis]
    )


def _read_state(run: RunFolder) -> dict[str, Any]:
    if not run.population.exists():
        return {"members": {}, "rows": []}
    state: dict[str, Any] = json.loads(run.population.read_text())
    return state


def _write_state(
    run: RunFolder, members: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], axes: Sequence[str]
) -> None:
    """What a resumed sweep goes by, whole or not at all; and what passed from trial to trial, for people."""
    state = {"members": members, "rows": [*_read_state(run)["rows"], *rows]}
    write_whole(run.population, json.dumps(state, indent=1))
    columns = ["epoch", "trial", "donor", "score", "donor_score"]
    columns += [column for axis in axes for column in _columns(axis)]
    with run.pbt.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(state["rows"])


def _delete_unneeded(checkpoints: Path, members: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    """Of each trial there stay its best checkpoint since it last took over, and those that somebody starts from."""
    generations = {trial: Generation.of(config) for trial, config in members.items()}
    kept = {Path(generation.parent) for generation in generations.values()}
    for generation in generations.values():
        own = [path for name in generation.earlier for path in (checkpoints / name).glob("checkpoint_*/")]
        kept |= _best(own, metric)
    for trial in members:
        for folder in (checkpoints / trial, *checkpoints.glob(f"{trial}-*/")):
            for path in folder.glob("checkpoint_*/"):
                if path not in kept:
                    shutil.rmtree(path)


def _best(folders: Iterable[Path], metric: str) -> set[Path]:
    """Of one trial's checkpoints the one that decides between trials, if it has any."""
    manifests = {}
    for folder in sorted(folders):
        with contextlib.suppress(CheckpointError):
            manifests[folder] = read_manifest(folder)
    if not manifests:
        return set()
    return {max(manifests, key=lambda folder: (manifests[folder].metrics[metric], -manifests[folder].epoch))}
