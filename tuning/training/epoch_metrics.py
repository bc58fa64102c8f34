"""The metrics of one epoch of a trial.

To add a metric, name it in `EPOCH_METRICS` and compute it in `epoch_metrics`. The history in the checkpoint, MLflow and
the learning curves follow. Runs from before the change lack it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn import functional as F

from tuning.training.epoch import EpochTotals
from tuning.training.predictions import Predictions
from tuning.training.scores import score_predictions
from tuning.training.timing import TIME_METRICS

EPOCH_METRICS = (
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1", "lr", "micro_batch", "seconds"),
    *TIME_METRICS,
)
"""Names of the metrics of an epoch: those of `epoch_metrics`, the seconds since the trial started, and the seconds of
each phase of the epoch."""


def epoch_metrics(
    totals: Sequence[EpochTotals], predictions: Predictions, classes: Sequence[str], *, lr: float, micro_batch: int
) -> dict[str, float]:
    """Return the metrics of an epoch, except its times.

    Args:
        totals: sums over the training clips of each fold, over all ranks.
        predictions: on the validation clips of all folds.
        classes: names of the classes.
        lr: learning rate of the head at the epoch's end.
        micro_batch: most clips per forward pass.
    """
    clips = sum(fold.clips for fold in totals)
    scores = score_predictions(predictions, classes)
    return {
        "train_loss": sum(fold.loss for fold in totals) / clips,
        "train_accuracy": sum(fold.correct for fold in totals) / clips,
        "val_loss": float(F.cross_entropy(predictions.logits, predictions.labels)),
        "val_accuracy": scores.accuracy,
        "val_macro_f1": scores.macro_f1,
        "lr": lr,
        "micro_batch": float(micro_batch),
    }
