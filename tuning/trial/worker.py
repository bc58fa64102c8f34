"""Inside `ray.train`: prepare, train and evaluate epoch by epoch, report each with a checkpoint."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from data.loading.augment import Augment
from data.loading.sampling import derived_seed
from data.loading.transforms import Normalise
from models.registry import ARCHITECTURES
from tuning.config.sweep_config import TrialConfig
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
from tuning.training.fold import (
    FoldTraining,
    augmentation_settings,
    build_fold,
    configure_torch,
    initial_model,
    num_loader_workers,
)
from tuning.training.metrics import score
from tuning.training.precision import choose_precision
from tuning.training.predictions import Predictions, concatenate_predictions
from tuning.training.timing import Stopwatch
from tuning.training.trial_data import TrialData
from tuning.trial import stop as stopping
from tuning.trial.disk import await_room


@dataclass
class _Training:
    """One trial on its way. Folds go epoch by epoch together, so that the scheduler sees one score an epoch."""

    trial: TrialConfig
    data: TrialData
    device: torch.device
    precision: str
    normalise: nn.Module
    augment: Augment
    members: list[FoldTraining]
    micro_batch: int
    """Most clips at once that memory has had room for."""
    watch: Stopwatch
    validation: Predictions | None = None
    """Answers of the latest epoch to the validation clips."""
    earlier: list[torch.Tensor] = field(default_factory=list)
    """Class indices, int16 `(N,)`, that each epoch before the latest gave to these clips."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Each epoch's metrics, those before a restart included."""


def train(payload: dict[str, Any]) -> dict[str, Any] | None:
    """Train one trial, as one of its workers.

    Args:
        payload: `trial` (a `TrialConfig`), `data` (a `TrialData`), `cpus` and `folder` (of its checkpoints).

    Returns:
        What was reported of the epoch in which the trial diverged, if it did.
    """
    stopping.begin()
    try:
        return _train(payload)
    except stopping.Stopped:
        return None
    finally:
        _let_go(compiled=payload["trial"].train.compile)


def _let_go(*, compiled: bool) -> None:
    """The process may train another trial: what this one had on the device must be free for it."""
    if compiled:
        # Of one piece of code PyTorch compiles a few variants, and runs all later ones uncompiled.
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _train(payload: dict[str, Any]) -> dict[str, Any] | None:
    started = time.monotonic()
    trial, data = payload["trial"], payload["data"]
    configure_torch(int(payload["cpus"]))
    own = _own_checkpoint(Path(payload["folder"]))
    watch = Stopwatch()
    with watch.phase("start"):
        training = _prepare(trial, data, int(payload["cpus"]), own, watch)
    if own is not None:
        # Who was told of it may have been killed before the scheduler and the journal heard.
        ray.train.report({**_row(training), "checkpoint_path": str(own)})
    spent_before = training.history[-1]["seconds"] if training.history else 0.0
    while not ended(training.history, trial):
        epoch = len(training.history) + 1
        try:
            metrics = _one_epoch(training, epoch)
        except DivergenceError as fault:
            return _report_diverged(trial, epoch, fault, spent_before + time.monotonic() - started)
        seconds = {"seconds": spent_before + time.monotonic() - started, **watch.collect()}
        training.history.append(metrics | seconds)
        with watch.phase("save"):
            _report(training, Path(payload["folder"]))
    return None


def ended(history: Sequence[Mapping[str, float]], trial: TrialConfig) -> bool:
    """Whether a trial has all its epochs, or `train.patience` of them without a better score than before."""
    scores = [epoch[trial.metric] for epoch in history]
    waited = len(scores) - 1 - scores.index(max(scores)) if scores else 0
    return len(scores) == trial.train.epochs or waited == trial.train.patience


def _own_checkpoint(run_folder: Path) -> Path | None:
    """What a trial goes on from that was on its way before."""
    latest = ray.train.get_checkpoint()
    return latest_intact_checkpoint(run_folder, Path(latest.path) if latest is not None else None)


def _prepare(trial: TrialConfig, data: TrialData, cpus: int, folder: Path | None, watch: Stopwatch) -> _Training:
    # Once a node, however many workers of however many trials ask for it.
    data.store().fetch(data.digests(), progress=False)
    device = ray.train.torch.get_device()
    precision = choose_precision(trial.train.precision, device)
    models = load_models(folder)[0] if folder else [initial_model(trial, data, fold) for fold in range(len(data.folds))]
    arch = ARCHITECTURES[trial.arch]
    normalise = Normalise(arch.mean, arch.std).to(device)
    training = _Training(
        trial=trial,
        data=data,
        device=device,
        precision=precision,
        normalise=normalise,
        augment=Augment(normalise, len(data.classes), augmentation_settings(trial.train)),
        micro_batch=trial.train.at_once,
        members=[
            build_fold(
                trial,
                data,
                fold,
                # Not wrapped for DDP: the loop itself averages the gradients of all workers.
                ray.train.torch.prepare_model(model, parallel_strategy=None),
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
    if folder:
        _go_on(training, folder)
    return training


def _go_on(training: _Training, folder: Path) -> None:
    for member, state in zip(training.members, load_training(folder), strict=True):
        member.learner.load_state(state)
    training.history = list(read_manifest(folder).history)
    training.validation, training.earlier = (
        load_validation_predictions(folder),
        list(load_epoch_predictions(folder)[:-1].short()),
    )
    training.micro_batch = int(training.history[-1]["micro_batch"])


def _one_epoch(training: _Training, epoch: int) -> dict[str, float]:
    sums = [_train_member(training, member, epoch) for member in training.members]
    loss, correct, clips = (sum(getattr(part, name) for part in sums) for name in ("loss", "correct", "clips"))
    lr = float(training.members[0].learner.schedule.get_last_lr()[0])
    # Each clip is in one fold's validation part: together they are as many predictions as there are clips.
    with training.watch.phase("val"):
        predictions = concatenate_predictions([_validate_member(training, member) for member in training.members])
    _keep_answers(training, predictions)
    scores = score(predictions.labels.tolist(), predictions.logits.argmax(1).tolist(), training.data.classes)
    return {
        "train_loss": loss / clips,
        "train_accuracy": correct / clips,
        "val_loss": float(F.cross_entropy(predictions.logits, predictions.labels)),
        "val_accuracy": scores.accuracy,
        "val_macro_f1": scores.macro_f1,
        "lr": lr,
        "micro_batch": float(training.micro_batch),
    }


def _keep_answers(training: _Training, predictions: Predictions) -> None:
    before = training.validation
    if before is not None:
        assert before.clip_ids == predictions.clip_ids
        training.earlier.append(before.logits.argmax(1).short())
    training.validation = predictions


def _train_member(training: _Training, member: FoldTraining, epoch: int) -> EpochTotals:
    # Seeded anew each epoch, so that a trial that goes on from a checkpoint ends as if it had not stopped.
    rank = ray.train.get_context().get_world_rank()
    seed = derived_seed(training.trial.train.seed, epoch, rank, member.fold)
    torch.manual_seed(seed)
    member.sampler.set_epoch(epoch)
    with training.watch.phase("train"):
        sums = train_one_epoch(
            member.learner,
            training.watch.wrap("vary", training.augment),
            training.watch.iterate(stopping.until_asked(member.train_batches)),
            epoch=epoch,
            seed=seed,
            micro_batch=training.micro_batch,
            move=training.watch.wrap("copy", to_device),
        )
    training.micro_batch = sums.micro_batch
    return _add_over_ranks(sums, training.device)


def _validate_member(training: _Training, member: FoldTraining) -> Predictions:
    part = predict(
        member.learner.eval_model,
        training.normalise,
        training.watch.iterate(stopping.until_asked(member.val_batches)),
        device=training.device,
        precision=training.precision,
    )
    if not dist.is_initialized():
        return part
    parts: list[Predictions | None] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return concatenate_predictions([p for p in parts if p is not None])


def _add_over_ranks(sums: EpochTotals, device: torch.device) -> EpochTotals:
    if not dist.is_initialized():
        return sums
    total = torch.tensor([sums.loss, sums.correct, sums.clips], dtype=torch.float64, device=device)
    dist.all_reduce(total)
    loss, correct, clips = total.tolist()
    return EpochTotals(loss, int(correct), int(clips), sums.micro_batch)


def _report(training: _Training, run_folder: Path) -> None:
    row = _row(training)
    if ray.train.get_context().get_world_rank() != 0:
        with training.watch.phase("report"):
            ray.train.report(row)
        return
    with tempfile.TemporaryDirectory() as folder:
        _save(training, Path(folder))
        await_room(run_folder, Path(folder))
        with training.watch.phase("report"):
            ray.train.report(row, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _row(training: _Training) -> dict[str, Any]:
    return {"epoch": len(training.history), "status": "running", **training.history[-1]}


def _save(training: _Training, folder: Path) -> None:
    manifest = Manifest(
        trial=training.trial,
        classes=training.data.classes,
        split_sha256=training.data.split_sha256,
        decode=training.data.decode,
        folds=len(training.members),
        precision=training.precision,
        history=tuple(training.history),
    )
    learners = [member.learner for member in training.members]
    assert training.validation is not None
    save_checkpoint(
        folder,
        manifest,
        [learner.eval_model for learner in learners],
        [learner.state() for learner in learners],
        training.validation,
        training.earlier,
    )


def _report_diverged(trial: TrialConfig, epoch: int, fault: DivergenceError, seconds: float) -> dict[str, Any]:
    """Tune's scheduler needs a number: 0 is the worst that the metric can be."""
    row = {"epoch": epoch, "status": "diverged", "reason": str(fault), trial.metric: 0.0, "seconds": seconds}
    ray.train.report(row)
    return row
