"""What the trials of a sweep came to: a row a trial, and which is the champion."""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tuning.config.schema import AXES, MODEL_AXIS, TRAIN_AXIS
from tuning.config.sweep_config import SweepConfig
from tuning.errors import TuningError, last_line
from tuning.training.bootstrap import ScoreIntervals
from tuning.training.checkpoint import Manifest


class NoChampion(TuningError):
    """No trial ended with a usable checkpoint."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial; its scores are those of its best epoch by the sweep's metric."""

    id: str
    arch: str
    weights: str
    sampler: str
    loss: str
    lr: float
    num_frames: int
    selection: str
    seed: int
    stage: str
    """`search`, or `final` for a finalist with another seed."""
    epochs: int
    """Epochs trained."""
    val_accuracy: float
    val_macro_f1: float
    seconds: float
    status: str
    """`done`, `stopped` (by ASHA, or as `train.patience` was at its end), `diverged`, `error` or `unfinished`."""
    best_epoch: int
    checkpoint: str
    """Absolute folder of the best epoch's checkpoint; empty when there is none."""
    latest: str = ""
    """The same of the latest epoch's, which knows the answers of all epochs."""
    reason: str = ""
    """Why it is `diverged` or `error`, in a line."""
    history: tuple[dict[str, float], ...] = ()
    """Metrics of each epoch that has left a checkpoint, the first epoch's first."""
    intervals: ScoreIntervals | None = None
    """Of the two scores; None where there is no checkpoint."""
    further: Mapping[str, Any] = field(default_factory=dict)
    """Its value on each axis beside `AXES` (settings of training, options of its architecture), by the axis' name."""

    @property
    def title(self) -> str:
        """What it is, for people: `c3d · balanced · 16f · lr 3e-4`."""
        return trial_title(self.told)

    @property
    def choice(self) -> dict[str, Any]:
        """Its value on each axis."""
        return {**{axis: getattr(self, axis) for axis in AXES}, **self.further}

    @property
    def told(self) -> dict[str, Any]:
        """Its choice as it was handed out: a finalist's with its seed."""
        return self.choice | ({"seed": self.seed} if self.stage == "final" else {})


_USUAL = {"weights": "none", "loss": "plain", "selection": "uniform"}


def telling_axes(choices: Iterable[Mapping[str, Any]]) -> list[str]:
    """The axes worth a column in a table of trials: not those on which all trials have the usual value."""
    choices = list(choices)
    told = [axis for axis in AXES if axis not in _USUAL or any(c.get(axis) != _USUAL[axis] for c in choices)]
    # Settings of training, options of architectures, and the seed where there are finalists.
    return [*told, *dict.fromkeys(axis for choice in choices for axis in choice if axis not in AXES)]


def axis_title(axis: str) -> str:
    """An axis' name in a table."""
    return "frames" if axis == "num_frames" else axis.removeprefix(TRAIN_AXIS).removeprefix(MODEL_AXIS)


def axis_text(axis: str, value: Any) -> str:
    """An axis' value in a table; empty for an option that the trial's architecture does not vary."""
    if value is None:
        return "" if axis.startswith(MODEL_AXIS) else "null"
    if axis == "weights":
        return weights_text(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def trial_title(choice: Mapping[str, Any]) -> str:
    """A trial's name for people; what is as usual (no weights, plain loss, uniform frames) goes without saying."""
    weights = "" if choice["weights"] == "none" else f" ({weights_text(choice['weights'])})"
    sampler = choice["sampler"] + (", weighted loss" if choice["loss"] == "weighted" else "")
    frames = f"{choice['num_frames']}f" + (" dense" if choice["selection"] == "dense" else "")
    own = {axis: value for axis, value in choice.items() if axis not in AXES}
    told = {axis: value for axis, value in own.items() if not (axis.startswith(MODEL_AXIS) and value is None)}
    further = [f" · {axis_title(axis)} {axis_text(axis, value)}" for axis, value in told.items()]
    return f"{choice['arch']}{weights} · {sampler} · {frames} · lr {_rate_text(choice['lr'])}{''.join(further)}"


def _rate_text(rate: float) -> str:
    """As learning rates are written: `3e-4`, but `0.05`."""
    if not 0 < rate < 0.01:
        return f"{rate:.3g}"
    mantissa, _, exponent = f"{rate:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def weights_text(weights: str) -> str:
    """Weights in a title or a table: a name as it is, of a path its last two parts."""
    return "/".join(Path(weights).parts[-2:])


_NO_COLUMNS = ("checkpoint", "latest", "history", "intervals", "further")
INTERVAL_COLUMNS = ("val_accuracy_low", "val_accuracy_high", "val_macro_f1_low", "val_macro_f1_high")
COLUMNS = (*(each.name for each in fields(TrialResult) if each.name not in _NO_COLUMNS), *INTERVAL_COLUMNS)
"""Of a sweep's CSV; further axes follow the selection."""


def summarise_trial(
    trial_id: str,
    choice: dict[str, Any],
    tune_status: str,
    last: dict[str, Any] | None,
    checkpoints: Mapping[Path, Manifest],
    sweep: SweepConfig,
    error: str = "",
) -> TrialResult:
    """One row from a trial's checkpoints and its last report.

    The checkpoints come first: a sweep that was killed may not have heard of a trial's last epochs.

    Args:
        trial_id: Tune's id.
        choice: its value on each axis.
        tune_status: Tune's word (`TERMINATED`, `ERROR` …).
        last: its last report, if it made any.
        checkpoints: its whole checkpoints; Ray keeps the two best and the latest.
        sweep: the settings.
        error: what Tune wrote of its failure, if it failed.
    """
    by_epoch = sorted(checkpoints.items(), key=lambda item: item[1].epoch)
    # Of equals the newest, as Ray goes by: which older ones are left depends on what befell the trial.
    best = max(by_epoch, key=lambda item: (item[1].metrics[sweep.search.metric], item[1].epoch), default=None)
    history = by_epoch[-1][1].history if by_epoch else ()
    epochs = max(len(history), int(last["epoch"]) if last else 0)
    status = _status(tune_status, last, epochs, sweep.train.epochs)
    seconds = max(history[-1]["seconds"] if history else 0.0, float(last["seconds"]) if last else 0.0)
    return TrialResult(
        id=trial_id,
        **{axis: choice[axis] for axis in AXES},
        seed=choice.get("seed", sweep.train.seed),
        stage="final" if "seed" in choice else "search",
        epochs=epochs,
        val_accuracy=best[1].metrics["val_accuracy"] if best else math.nan,
        val_macro_f1=best[1].metrics["val_macro_f1"] if best else math.nan,
        seconds=round(seconds, 1),
        status=status,
        best_epoch=best[1].epoch if best else 0,
        checkpoint=str(best[0]) if best else "",
        latest=str(by_epoch[-1][0]) if by_epoch else "",
        reason=_reason(status, last, error),
        history=history,
        further={axis: value for axis, value in choice.items() if axis.startswith((TRAIN_AXIS, MODEL_AXIS))},
    )


def _status(tune_status: str, last: dict[str, Any] | None, epochs: int, all_epochs: int) -> str:
    if tune_status == "ERROR":
        return "error"
    if tune_status == "TERMINATED" and last is not None and last["status"] in ("diverged", "error"):
        return str(last["status"])
    if tune_status != "TERMINATED" or epochs == 0:
        return "unfinished"
    return "done" if epochs >= all_epochs else "stopped"


def _reason(status: str, last: dict[str, Any] | None, error: str) -> str:
    if status not in ("diverged", "error"):
        return ""
    return str((last or {}).get("reason", "")) or last_line(error)


def rank(results: Sequence[TrialResult], metric: str) -> list[TrialResult]:
    """Best first by the validation metric; the id decides between equals, so that the order is always the same."""
    return sorted(results, key=lambda row: (-_or_worst(getattr(row, metric)), row.id))


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class Finalist:
    """One choice over several seeds."""

    trials: tuple[TrialResult, ...]
    """A trial a seed, best first by the sweep's metric."""
    mean: float
    """Of the metric over the seeds."""
    deviation: float
    """Standard deviation of the metric over the seeds, with n - 1."""
    worst: float
    """Least value of the metric."""
    best: float
    """Greatest value of the metric."""

    @property
    def middle(self) -> TrialResult:
        """The trial that stands for them: the median, of an even number the lower one of the two."""
        return self.trials[len(self.trials) // 2]


def finalists(results: Sequence[TrialResult], metric: str, seeds: int) -> list[Finalist]:
    """The choices that were trained to the end with all their seeds, best mean first."""
    by_choice: dict[tuple[Any, ...], list[TrialResult]] = {}
    for row in results:
        if row.stage == "final" and usable(row):
            by_choice.setdefault(tuple(row.choice.values()), []).append(row)
    found = []
    for rows in by_choice.values():
        if len(rows) == seeds:
            values = [getattr(row, metric) for row in rows]
            spread = statistics.fmean(values), statistics.stdev(values), min(values), max(values)
            found.append(Finalist(tuple(rank(rows, metric)), *spread))
    return sorted(found, key=lambda each: (-each.mean, each.trials[0].id))


def champion(results: Sequence[TrialResult], metric: str, seeds: int | None = None) -> TrialResult:
    """The best trial by validation among those that trained in good order; with finalists, the best one's median.

    Args:
        results: all trials.
        metric: what decides.
        seeds: trials of each finalist, if there were finalists.

    Raises:
        NoChampion: there is none.
    """
    if seeds is not None:
        best = finalists(results, metric, seeds)
        if not best:
            raise NoChampion(f"no finalist was trained in good order with all its {seeds} seeds: {_counts(results)}")
        return best[0].middle
    candidates = [row for row in results if usable(row)]
    if not candidates:
        raise NoChampion(f"no trial ended with a usable model: {_counts(results)}")
    return rank(candidates, metric)[0]


def best_choices(results: Sequence[TrialResult], metric: str, top: int) -> list[dict[str, Any]]:
    """The different choices of the best trials that trained in good order, at most `top`, best first."""
    choices: list[dict[str, Any]] = []
    for row in rank([row for row in results if usable(row)], metric):
        if row.choice not in choices:
            choices.append(row.choice)
    return choices[:top]


def usable(row: TrialResult) -> bool:
    """Whether it trained in good order and has a model."""
    return row.status in ("done", "stopped") and bool(row.checkpoint)


def _counts(results: Sequence[TrialResult]) -> str:
    counts = Counter(row.status for row in results)
    told = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    return f"{told}; the sweep has not ended: go on with it by sweep --resume" if counts["unfinished"] else told


def write_results(results: Sequence[TrialResult], file: Path) -> None:
    """A CSV with `COLUMNS` and those of the further axes, a row a trial, in the order given."""
    place = COLUMNS.index("selection") + 1
    columns = (*COLUMNS[:place], *dict.fromkeys(axis for row in results for axis in row.further), *COLUMNS[place:])
    aside = file.with_suffix(".tmp")
    with aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(row), **row.further, **_interval_columns(row)} for row in results)
    aside.replace(file)


def _interval_columns(row: TrialResult) -> dict[str, float]:
    """The ends of its intervals by the name of their column; empty without intervals."""
    if row.intervals is None:
        return {}
    accuracy, macro_f1 = row.intervals.accuracy, row.intervals.macro_f1
    return dict(zip(INTERVAL_COLUMNS, (accuracy.low, accuracy.high, macro_f1.low, macro_f1.high), strict=True))
