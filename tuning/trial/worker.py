"""The training function of a worker: train and validate epoch by epoch, report each epoch with a checkpoint."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import nn

from data.loading.augment import Augment
from data.loading.sampling import derived_seed
from tuning.config.trial_config import TrialConfig
from tuning.training.checkpoint import (
    Manifest,
    latest_intact_checkpoint,
    load_epoch_predictions,
    load_models,
    load_training,
    load_validation_predictions,
    read_manifest,
    save_checkpoint,
)
from tuning.training.epoch import DivergenceError, EpochTotals, predict, to_device, train_one_epoch
from tuning.training.epoch_metrics import epoch_metrics
from tuning.training.fold import (
    FoldTraining,
    batch_transforms,
    build_fold,
    configure_torch,
    initial_model,
    num_loader_workers,
)
from tuning.training.precision import choose_precision
from tuning.training.predictions import Predictions, concatenate_predictions
from tuning.training.timing import Stopwatch
from tuning.training.trial_data import TrialData
from tuning.trial.disk import wait_for_disk_space
from tuning.trial.stop import TrialStopped, clear_stop_request, until_stopped


@dataclass
class _TrialState:
    """A trial between two epochs. All folds train the same epoch, so that the scheduler gets one score per epoch."""

    trial: TrialConfig
    data: TrialData
    device: torch.device
    precision: str
    normalise: nn.Module
    augment: Augment
    folds: list[FoldTraining]
    micro_batch: int
    """Clips per forward and backward pass that fit into memory."""
    watch: Stopwatch
    validation: Predictions | None = None
    """Predictions of the latest epoch for the validation clips."""
    earlier: list[torch.Tensor] = field(default_factory=list)
    """Predicted class indices of each earlier epoch for the same clips, int16 `(N,)`."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Metrics of each epoch, including those before a restart."""


def train(payload: dict[str, Any]) -> dict[str, Any] | None:
    """Train one trial as one of its workers.

    Args:
        payload: `trial` (a `TrialConfig`), `data` (a `TrialData`), `cpus` (of this worker) and `folder` (of the
            trial's checkpoints).

    Returns:
        The report of the epoch in which the trial diverged; None if it did not.
    """
    clear_stop_request()
    try:
        return _train(payload)
    except TrialStopped:
        return None
    finally:
        _release_memory(compiled=payload["trial"].train.compile)


def _release_memory(*, compiled: bool) -> None:
    """Free this trial's memory on the device, since the process may train another trial."""
    if compiled:
        # PyTorch compiles only a few variants of the same code and runs all later ones uncompiled.
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _train(payload: dict[str, Any]) -> dict[str, Any] | None:
    started = time.monotonic()
    trial, data = payload["trial"], payload["data"]
    configure_torch(int(payload["cpus"]))
    checkpoint = _latest_checkpoint(Path(payload["folder"]))
    watch = Stopwatch()
    with watch.phase("start"):
        state = _prepare(trial, data, int(payload["cpus"]), checkpoint, watch)
    if checkpoint is not None:
        # The driver may have been killed before it passed this report on to the scheduler and MLflow.
        ray.train.report({**_epoch_report(state), "checkpoint_path": str(checkpoint)})
    spent_before = state.history[-1]["seconds"] if state.history else 0.0
    while not is_finished(state.history, trial):
        epoch = len(state.history) + 1
        try:
            metrics = _run_epoch(state, epoch)
        except DivergenceError as error:
            return _report_divergence(trial, epoch, error, spent_before + time.monotonic() - started)
        seconds = {"seconds": spent_before + time.monotonic() - started, **watch.collect()}
        state.history.append(metrics | seconds)
        with watch.phase("save"):
            _report(state, Path(payload["folder"]))
    return None


def is_finished(history: Sequence[Mapping[str, float]], trial: TrialConfig) -> bool:
    """Return whether a trial has trained all its epochs, or `train.patience` epochs without a better score."""
    scores = [epoch[trial.metric] for epoch in history]
    epochs_since_best = len(scores) - 1 - scores.index(max(scores)) if scores else 0
    return len(scores) == trial.train.epochs or epochs_since_best == trial.train.patience


def _latest_checkpoint(trial_folder: Path) -> Path | None:
    """Return the checkpoint from which a restarted trial resumes."""
    latest = ray.train.get_checkpoint()
    return latest_intact_checkpoint(trial_folder, Path(latest.path) if latest is not None else None)


def _prepare(trial: TrialConfig, data: TrialData, cpus: int, checkpoint: Path | None, watch: Stopwatch) -> _TrialState:
    # Copied once per node, however many workers of however many trials call this.
    data.store().fetch(data.digests(), progress=False)
    device = ray.train.torch.get_device()
    precision = choose_precision(trial.train.precision, device)
    if checkpoint is not None:
        models = load_models(checkpoint)[0]
    else:
        models = [initial_model(trial, data, fold) for fold in range(len(data.folds))]
    normalise, augment = batch_transforms(trial, len(data.classes), device)
    state = _TrialState(
        trial=trial,
        data=data,
        device=device,
        precision=precision,
        normalise=normalise,
        augment=augment,
        micro_batch=trial.train.max_micro_batch,
        folds=[
            build_fold(
                trial,
                data,
                fold,
                model,
                # Not wrapped in DDP: the training loop averages the gradients of all workers itself.
                place=partial(ray.train.torch.prepare_model, parallel_strategy=None),
                device=device,
                precision=precision,
                loader_workers=num_loader_workers(trial.train, device, cpus),
                rank=ray.train.get_context().get_world_rank(),
                world_size=ray.train.get_context().get_world_size(),
            )
            for fold, model in enumerate(models)
        ],
        watch=watch,
    )
    if checkpoint is not None:
        _resume(state, checkpoint)
    return state


def _resume(state: _TrialState, checkpoint: Path) -> None:
    for fold, learner_state in zip(state.folds, load_training(checkpoint), strict=True):
        fold.learner.load_state(learner_state)
    state.history = list(read_manifest(checkpoint).history)
    state.validation = load_validation_predictions(checkpoint)
    state.earlier = list(load_epoch_predictions(checkpoint)[:-1].short())
    state.micro_batch = int(state.history[-1]["micro_batch"])


def _run_epoch(state: _TrialState, epoch: int) -> dict[str, float]:
    totals = [_train_fold(state, fold, epoch) for fold in state.folds]
    lr = float(state.folds[0].learner.schedule.get_last_lr()[0])
    # Each clip is in the validation part of one fold.
    with state.watch.phase("val"):
        predictions = concatenate_predictions([_validate_fold(state, fold) for fold in state.folds])
    _set_validation(state, predictions)
    return epoch_metrics(totals, predictions, state.data.classes, lr=lr, micro_batch=state.micro_batch)


def _set_validation(state: _TrialState, predictions: Predictions) -> None:
    previous = state.validation
    if previous is not None:
        assert previous.clip_ids == predictions.clip_ids
        state.earlier.append(previous.logits.argmax(1).short())
    state.validation = predictions


def _train_fold(state: _TrialState, fold: FoldTraining, epoch: int) -> EpochTotals:
    # Seeded for each epoch, so that a resumed trial ends with the same figures as an undisturbed one.
    rank = ray.train.get_context().get_world_rank()
    seed = derived_seed(state.trial.train.seed, epoch, rank, fold.fold)
    torch.manual_seed(seed)
    fold.sampler.set_epoch(epoch)
    with state.watch.phase("train"):
        sums = train_one_epoch(
            fold.learner,
            state.watch.wrap("vary", state.augment),
            state.watch.iterate(until_stopped(fold.train_batches)),
            epoch=epoch,
            seed=seed,
            micro_batch=state.micro_batch,
            move=state.watch.wrap("copy", to_device),
        )
    state.micro_batch = sums.micro_batch
    return _sum_over_ranks(sums, state.device)


def _validate_fold(state: _TrialState, fold: FoldTraining) -> Predictions:
    part = predict(
        fold.learner.eval_model,
        state.normalise,
        state.watch.iterate(until_stopped(fold.val_batches)),
        device=state.device,
        precision=state.precision,
    )
    if not dist.is_initialized():
        return part
    parts: list[Predictions | None] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return concatenate_predictions([p for p in parts if p is not None])


def _sum_over_ranks(sums: EpochTotals, device: torch.device) -> EpochTotals:
    if not dist.is_initialized():
        return sums
    total = torch.tensor([sums.loss, sums.correct, sums.clips], dtype=torch.float64, device=device)
    dist.all_reduce(total)
    loss, correct, clips = total.tolist()
    return EpochTotals(loss, int(correct), int(clips), sums.micro_batch)


def _report(state: _TrialState, trial_folder: Path) -> None:
    metrics = _epoch_report(state)
    if ray.train.get_context().get_world_rank() != 0:
        with state.watch.phase("report"):
            ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        _save(state, Path(folder))
        wait_for_disk_space(trial_folder, Path(folder))
        with state.watch.phase("report"):
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _epoch_report(state: _TrialState) -> dict[str, Any]:
    return {"epoch": len(state.history), "status": "running", **state.history[-1]}


def _save(state: _TrialState, folder: Path) -> None:
    manifest = Manifest(
        trial=state.trial,
        classes=state.data.classes,
        split_sha256=state.data.split_sha256,
        decode=state.data.decode,
        folds=len(state.folds),
        precision=state.precision,
        history=tuple(state.history),
    )
    learners = [fold.learner for fold in state.folds]
    assert state.validation is not None
    save_checkpoint(
        folder,
        manifest,
        [fold.checkpoint_model() for fold in state.folds],
        [learner.state() for learner in learners],
        state.validation,
        state.earlier,
    )


def _report_divergence(trial: TrialConfig, epoch: int, error: DivergenceError, seconds: float) -> dict[str, Any]:
    # Tune's scheduler needs a number: 0 is the worst value of the metric.
    report = {"epoch": epoch, "status": "diverged", "reason": str(error), trial.metric: 0.0, "seconds": seconds}
    ray.train.report(report)
    return report
