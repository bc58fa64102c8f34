"""Inside `ray.train`: prepare, train and evaluate epoch by epoch, report each with a checkpoint."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from data.loading import EvalDataset, TrainDataset, eval_loader, train_loader
from data.sampling import EpochSampler, derived_seed
from data.transforms import EvalTransform, Normalise, TrainTransform
from models.registry import ARCHITECTURES, build_model
from models.weights import load_weights
from tuning.checkpoint import Manifest, TrainingState, load_model, load_training, read_manifest, save_checkpoint
from tuning.config import TrialConfig
from tuning.job import TrialData
from tuning.loop import Diverged, Predictions, Sums, build_optimizer, choose_precision, predict, train_one_epoch
from tuning.metrics import score


@dataclass
class _Training:
    """All that changes from epoch to epoch, and what it runs on."""

    trial: TrialConfig
    data: TrialData
    device: torch.device
    precision: str
    model: nn.Module
    """As trained: wrapped for DDP when there are several workers."""
    normalise: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler
    sampler: EpochSampler
    train_batches: DataLoader[Any]
    val_batches: DataLoader[Any]
    history: list[dict[str, float]] = field(default_factory=list)
    """Each epoch's metrics, those before a restart included."""

    @property
    def bare_model(self) -> nn.Module:
        return self.model.module if isinstance(self.model, nn.parallel.DistributedDataParallel) else self.model


def train(payload: dict[str, Any]) -> None:
    """Train one trial, as one of its workers.

    Args:
        payload: `trial` (a `TrialConfig`), `data` (a `TrialData`), both as plain values, and `cpus`.
    """
    started = time.monotonic()
    trial, data = TrialConfig.model_validate(payload["trial"]), TrialData.model_validate(payload["data"])
    torch.set_num_threads(max(1, int(payload["cpus"])))
    # The same seed must give the same figures: cuDNN would else pick kernels by their speed of the moment.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    training = _prepare(trial, data, int(payload["cpus"]))
    spent_before = training.history[-1]["seconds"] if training.history else 0.0
    while len(training.history) < trial.train.epochs:
        epoch = len(training.history) + 1
        try:
            metrics = _one_epoch(training, epoch)
        except Diverged as fault:
            _report_diverged(trial, epoch, fault, spent_before + time.monotonic() - started)
            return
        training.history.append({**metrics, "seconds": spent_before + time.monotonic() - started})
        _report(training)


def _prepare(trial: TrialConfig, data: TrialData, cpus: int) -> _Training:
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    torch.manual_seed(trial.train.seed)
    model, resumed = _start_model(trial, data)
    arch = ARCHITECTURES[trial.arch]
    workers = _loader_workers(trial, device, cpus)
    pin = device.type == "cuda"
    sampler = EpochSampler(
        [clip.label for clip in data.train], trial.sampler, seed=trial.train.seed, rank=rank, world_size=world
    )
    train_batches = train_loader(
        TrainDataset(
            data.train,
            data.store(),
            num_frames=trial.num_frames,
            transform=TrainTransform(trial.train.size, trial.train.min_scale, trial.train.flip),
            seed=trial.train.seed,
        ),
        sampler,
        batch_size=trial.train.batch_size,
        workers=workers,
        pin_memory=pin,
    )
    val_batches = eval_loader(
        EvalDataset(data.val, data.store(), num_frames=trial.num_frames, transform=EvalTransform(trial.train.size)),
        batch_size=trial.train.batch_size,
        workers=workers,
        pin_memory=pin,
        rank=rank,
        world_size=world,
    )
    model = ray.train.torch.prepare_model(_channels_last(model), parallel_strategy_kwargs={})
    optimizer, schedule = build_optimizer(model, trial.lr, trial.train, len(train_batches))
    precision = choose_precision(trial.train.precision, device)
    training = _Training(
        trial=trial,
        data=data,
        device=device,
        precision=precision,
        model=model,
        normalise=Normalise(arch.mean, arch.std),
        optimizer=optimizer,
        schedule=schedule,
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        sampler=sampler,
        train_batches=train_batches,
        val_batches=val_batches,
    )
    if resumed is not None:
        _go_on(training, resumed)
    return training


def _start_model(trial: TrialConfig, data: TrialData) -> tuple[nn.Module, Path | None]:
    """The model of the last checkpoint if this trial has one, else a new one with its weights."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        folder = Path(checkpoint.path)
        return load_model(folder)[0], folder
    model = build_model(
        trial.arch,
        trial.options,
        num_classes=len(data.classes),
        num_frames=trial.num_frames,
        size=trial.train.size,
    )
    load_weights(model, trial.arch, trial.weights)
    return model, None


def _go_on(training: _Training, folder: Path) -> None:
    state, manifest = load_training(folder), read_manifest(folder)
    training.optimizer.load_state_dict(state.optimizer)
    training.schedule.load_state_dict(state.schedule)
    training.scaler.load_state_dict(state.scaler)
    training.history = list(manifest.history)


def _channels_last(model: nn.Module) -> nn.Module:
    """The memory layout that convolutions in half precision are fastest in."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        if parameter.dim() in layouts:
            parameter.data = parameter.data.contiguous(memory_format=layouts[parameter.dim()])
    return model


def _loader_workers(trial: TrialConfig, device: torch.device, cpus: int) -> int:
    if trial.train.loader_workers is not None:
        return trial.train.loader_workers
    return max(0, cpus - 1) if device.type == "cuda" else 0


def _one_epoch(training: _Training, epoch: int) -> dict[str, float]:
    # Seeded anew each epoch, so that a trial that goes on from a checkpoint ends as if it had not stopped.
    rank = ray.train.get_context().get_world_rank()
    torch.manual_seed(derived_seed(training.trial.train.seed, epoch, rank))
    training.sampler.set_epoch(epoch)
    sums = train_one_epoch(
        training.model,
        training.normalise,
        training.train_batches,
        training.optimizer,
        training.schedule,
        training.scaler,
        device=training.device,
        precision=training.precision,
        train=training.trial.train,
    )
    sums = _add_over_ranks(sums, training.device)
    lr = float(training.schedule.get_last_lr()[0])
    predictions = _gather(
        predict(
            training.bare_model,
            training.normalise,
            training.val_batches,
            device=training.device,
            precision=training.precision,
        )
    )
    scores = score(predictions.labels.tolist(), predictions.logits.argmax(1).tolist(), training.data.classes)
    return {
        "train_loss": sums.loss / sums.clips,
        "train_accuracy": sums.correct / sums.clips,
        "val_loss": float(F.cross_entropy(predictions.logits, predictions.labels)),
        "val_accuracy": scores.accuracy,
        "val_macro_f1": scores.macro_f1,
        "lr": lr,
    }


def _add_over_ranks(sums: Sums, device: torch.device) -> Sums:
    if not dist.is_initialized():
        return sums
    total = torch.tensor([sums.loss, sums.correct, sums.clips], dtype=torch.float64, device=device)
    dist.all_reduce(total)
    loss, correct, clips = total.tolist()
    return Sums(loss, int(correct), int(clips))


def _gather(part: Predictions) -> Predictions:
    """All ranks' predictions; a rank without clips has no number of classes to stack by."""
    if not dist.is_initialized():
        return part
    parts: list[Predictions | None] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    filled = [p for p in parts if p is not None and p.clip_ids]
    return Predictions(
        [clip_id for p in filled for clip_id in p.clip_ids],
        torch.cat([p.labels for p in filled]),
        torch.cat([p.logits for p in filled]),
    )


def _report(training: _Training) -> None:
    row = {"epoch": len(training.history), "status": "running", **training.history[-1]}
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report(row)
        return
    with tempfile.TemporaryDirectory() as folder:
        _save(training, Path(folder))
        ray.train.report(row, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _save(training: _Training, folder: Path) -> None:
    manifest = Manifest(
        trial=training.trial,
        classes=training.data.classes,
        split_sha256=training.data.split_sha256,
        decode=training.data.decode,
        precision=training.precision,
        history=tuple(training.history),
    )
    state = TrainingState(training.optimizer.state_dict(), training.schedule.state_dict(), training.scaler.state_dict())
    save_checkpoint(folder, manifest, training.bare_model.state_dict(), state)


def _report_diverged(trial: TrialConfig, epoch: int, fault: Diverged, seconds: float) -> None:
    """Tune's scheduler needs a number: 0 is the worst that the metric can be."""
    ray.train.report(
        {"epoch": epoch, "status": "diverged", "reason": str(fault), trial.metric: 0.0, "seconds": seconds}
    )
