"""Train and validate a trial on any number of clips, as its worker would."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch.utils.data import Subset

from data.loading.loaders import BATCHES_AHEAD, Batch, ClipDataset, eval_loader, train_loader
from data.loading.sampling import EpochSampler
from data.store.build_report import LabelledFrames
from tuning.config.trial_config import TrialConfig
from tuning.training.epoch import predict, train_one_epoch
from tuning.training.fold import FoldTraining, batch_transforms, build_fold, initial_model, num_loader_workers
from tuning.training.precision import choose_precision
from tuning.training.process_memory import private_memory
from tuning.training.trial_data import FoldClips, TrialData


def repeat_clips(data: TrialData, number: int) -> TrialData:
    """Return the data with `number` clips to train on and to validate on in each fold, repeated if there are fewer."""

    def repeated(clips: Sequence[LabelledFrames]) -> tuple[LabelledFrames, ...]:
        return tuple(itertools.islice(itertools.cycle(clips), number))

    folds = tuple(FoldClips(train=repeated(fold.train), val=repeated(fold.val)) for fold in data.folds)
    return data.model_copy(update={"folds": folds})


class ProfileTrainer:
    """The models of all folds of a trial. A pass over all its clips uses data loaders, a step of N clips does not."""

    def __init__(self, trial: TrialConfig, data: TrialData, device: torch.device, cpus: int) -> None:
        self.trial, self.data, self.device = trial, data, device
        self.micro_batch = trial.train.max_micro_batch
        self.precision = choose_precision(trial.train.precision, device)
        self.loader_workers = num_loader_workers(trial.train, device, cpus)
        self.loader_memory = 0
        """Most bytes that a loader process has added so far."""
        self.normalise, self.augment = batch_transforms(trial, len(data.classes), device)
        self.folds = [
            build_fold(
                trial,
                data,
                fold,
                initial_model(trial, data, fold),
                device=device,
                precision=self.precision,
                loader_workers=self.loader_workers,
            )
            for fold in range(len(data.folds))
        ]

    def train(self, fold: int = 0) -> int:
        """Train on all clips of a fold, and return the largest micro-batch that fitted into memory."""
        training = self.folds[fold]
        # After memory has run out, a trial continues with the smaller micro-batch too.
        self.micro_batch = self._train(training, self._watch_loaders(training.train_batches), self.micro_batch)
        return self.micro_batch

    def load(self) -> None:
        """Load all clips of the first fold without training."""
        for _ in self._watch_loaders(self.folds[0].train_batches):
            pass

    def validate(self) -> None:
        """Validate the first fold on all its clips."""
        self._predict(self.folds[0].val_batches)

    def train_clips(self, clips: int, fold: int = 0) -> None:
        """Train one step of `clips` clips."""
        training = self.folds[fold]
        dataset = training.train_batches.dataset
        assert isinstance(dataset, ClipDataset)
        few = dataset.first(clips)
        sampler = EpochSampler([clip.label for clip in few.clips], "imbalanced", seed=0)
        batches = train_loader(few, sampler, batch_size=clips, workers=0, pin_memory=False)
        self._train(training, batches, clips)

    def validate_clips(self, clips: int) -> None:
        """Validate the first fold on `clips` clips in one batch."""
        part = self.folds[0].val_batches.dataset
        assert isinstance(part, Subset)
        assert isinstance(part.dataset, ClipDataset)
        self._predict(eval_loader(part.dataset.first(clips), batch_size=clips, workers=0, pin_memory=False))

    def _train(self, training: FoldTraining, batches: Iterable[Batch], micro_batch: int) -> int:
        # In the last epoch every stage trains that ever does.
        epoch = self.trial.train.epochs
        totals = train_one_epoch(training.learner, self.augment, batches, epoch=epoch, seed=0, micro_batch=micro_batch)
        return totals.micro_batch

    def _predict(self, batches: Iterable[Batch]) -> None:
        model = self.folds[0].learner.eval_model
        predict(model, self.normalise, batches, device=self.device, precision=self.precision)

    def _watch_loaders(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, then measure the memory of the loader processes before they end."""
        yield from batches
        if self.loader_workers:
            train = self.trial.train
            prefetched = BATCHES_AHEAD * train.batch_size * self.trial.num_frames * 3 * train.size**2
            private = [private_memory(process.pid) for process in multiprocessing.active_children() if process.pid]
            self.loader_memory = max(self.loader_memory, prefetched + max(private, default=0))
