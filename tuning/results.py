"""What the trials of a sweep came to: a row a trial, and which is the champion."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tuning.checkpoint import Manifest
from tuning.config import SweepConfig
from tuning.errors import TuningError


class NoChampion(TuningError):
    """No trial ended with a usable checkpoint."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial; its scores are those of its best epoch by the sweep's metric."""

    id: str
    arch: str
    sampler: str
    lr: float
    num_frames: int
    epochs: int
    """Epochs trained."""
    val_accuracy: float
    val_macro_f1: float
    seconds: float
    status: str
    """`done`, `stopped` (by ASHA), `diverged`, `error` or `unfinished`."""
    best_epoch: int
    checkpoint: str
    """Absolute folder of the best epoch's checkpoint; empty when there is none."""
    history: tuple[dict[str, float], ...] = ()
    """Metrics of each epoch that has left a checkpoint, the first epoch's first."""

    @property
    def title(self) -> str:
        """What it is, for people: `c3d · balanced · 16f · lr 0.0003`."""
        return trial_title(self.arch, self.sampler, self.num_frames, self.lr)


def trial_title(arch: str, sampler: str, num_frames: int, lr: float) -> str:
    """A trial's name for people."""
    return f"{arch} · {sampler} · {num_frames}f · lr {lr:.3g}"


COLUMNS = tuple(field.name for field in fields(TrialResult) if field.name not in ("checkpoint", "history"))


def summarise_trial(
    trial_id: str,
    choice: dict[str, Any],
    tune_status: str,
    last: dict[str, Any] | None,
    checkpoints: Mapping[Path, Manifest],
    sweep: SweepConfig,
) -> TrialResult:
    """One row from a trial's checkpoints and its last report.

    The checkpoints come first: a sweep that was killed may not have heard of a trial's last epochs.

    Args:
        trial_id: Tune's id.
        choice: its value on each axis.
        tune_status: Tune's word (`TERMINATED`, `ERROR` …).
        last: its last report, if it made any.
        checkpoints: its whole checkpoints; Ray keeps the best one and the latest.
        sweep: the settings.
    """
    by_epoch = sorted(checkpoints.items(), key=lambda item: item[1].epoch)
    best = max(by_epoch, key=lambda item: item[1].metrics[sweep.search.metric], default=None)
    history = by_epoch[-1][1].history if by_epoch else ()
    epochs = max(len(history), int(last["epoch"]) if last else 0)
    seconds = max(history[-1]["seconds"] if history else 0.0, float(last["seconds"]) if last else 0.0)
    return TrialResult(
        id=trial_id,
        arch=choice["arch"],
        sampler=choice["sampler"],
        lr=choice["lr"],
        num_frames=choice["num_frames"],
        epochs=epochs,
        val_accuracy=best[1].metrics["val_accuracy"] if best else math.nan,
        val_macro_f1=best[1].metrics["val_macro_f1"] if best else math.nan,
        seconds=round(seconds, 1),
        status=_status(tune_status, last, epochs, sweep.train.epochs),
        best_epoch=best[1].epoch if best else 0,
        checkpoint=str(best[0]) if best else "",
        history=history,
    )


def _status(tune_status: str, last: dict[str, Any] | None, epochs: int, all_epochs: int) -> str:
    if tune_status == "ERROR":
        return "error"
    if tune_status != "TERMINATED" or epochs == 0:
        return "unfinished"
    if last is not None and last["status"] == "diverged":
        return "diverged"
    return "done" if epochs >= all_epochs else "stopped"


def rank(results: Sequence[TrialResult], metric: str) -> list[TrialResult]:
    """Best first by the validation metric; the id decides between equals, so that the order is always the same."""
    return sorted(results, key=lambda row: (-_or_worst(getattr(row, metric)), row.id))


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def champion(results: Sequence[TrialResult], metric: str) -> TrialResult:
    """The best trial by validation among those that trained in good order.

    Raises:
        NoChampion: there is none.
    """
    usable = [row for row in results if row.status in ("done", "stopped") and row.checkpoint]
    if not usable:
        counts = {status: sum(row.status == status for row in results) for status in {r.status for r in results}}
        raise NoChampion(
            "no trial ended with a usable model: " + ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
        )
    return rank(usable, metric)[0]


def write_results(results: Sequence[TrialResult], file: Path) -> None:
    """A CSV with `COLUMNS`, a row a trial, in the order given."""
    aside = file.with_suffix(".tmp")
    with aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in results)
    aside.replace(file)
