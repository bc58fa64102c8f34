"""Accuracy of a model on frames in order, shuffled, reversed, and on one frame repeated: does it use time?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from data.loading.loaders import Batch, EvalDataset, eval_loader
from data.loading.sampling import derived_seed
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from tuning.training.bootstrap import Difference, GroupResampler, Interval, accuracies, percentiles
from tuning.training.epoch import predict
from tuning.training.predictions import Predictions

if TYPE_CHECKING:
    from tuning.inference.champion import Champion

Order = Literal["ordered", "shuffled", "reversed", "single frame"]
ORDERS: tuple[Order, ...] = ("ordered", "shuffled", "reversed", "single frame")

NUM_SHUFFLES = 3
"""Permutations of each clip's frames; the accuracy of `shuffled` is the mean over them."""

MIN_CHANGE = 0.005
"""Smaller changes of accuracy count as none: adding the same numbers in another order rounds differently."""

_Reorder = Callable[[torch.Tensor, str], torch.Tensor]


@dataclass(frozen=True, slots=True)
class OrderAccuracy:
    """Accuracy of one model with one order of the frames."""

    order: Order
    accuracy: float
    interval: Interval
    """By group of clips."""
    change: Difference | None
    """Accuracy with this order minus accuracy with the frames in order, on the same clips; None for `ordered`."""


@dataclass(frozen=True, slots=True)
class OrderProbe:
    """Accuracy of one model with each order of the frames."""

    title: str
    """Title of its trial."""
    arch: str
    weights: str
    champion: bool
    """Whether it is the sweep's champion."""
    rows: tuple[OrderAccuracy, ...]
    """In the order of `ORDERS`."""

    def row(self, order: Order) -> OrderAccuracy:
        """Return the accuracy with one order."""
        return next(row for row in self.rows if row.order == order)

    @property
    def shuffled_change(self) -> Difference:
        """Change of accuracy when the frames are shuffled."""
        change = self.row("shuffled").change
        assert change is not None
        return change

    @property
    def uses_order(self) -> bool:
        """Whether shuffling certainly lowers its accuracy: the interval of the change excludes 0."""
        return self.shuffled_change.excludes_zero and self.shuffled_change.value < -MIN_CHANGE

    @property
    def ignores_order(self) -> bool:
        """Whether shuffling changes its accuracy by at most `MIN_CHANGE`."""
        return abs(self.shuffled_change.value) <= MIN_CHANGE


def probe_frame_order(
    champion: Champion,
    clips: Sequence[LabelledFrames],
    store: FrameStore,
    groups: Sequence[str],
    *,
    title: str,
    is_champion: bool,
    ordered: Predictions | None = None,
) -> OrderProbe:
    """Measure a model's accuracy on the same clips with each order of the frames.

    Args:
        champion: the model.
        clips: at least one clip.
        store: frame store with their frames.
        groups: group of each clip.
        title: title of its trial.
        is_champion: whether it is the sweep's champion.
        ordered: its predictions with the frames in order, if they are known already.
    """
    known = {} if ordered is None else {"ordered": [ordered]}
    correct = {order: _correct(known.get(order) or _predictions(champion, clips, store, order)) for order in ORDERS}
    draws = GroupResampler(groups)
    drawn = {order: _drawn_accuracies(draws, each) for order, each in correct.items()}

    def accuracy(order: Order) -> OrderAccuracy:
        value, interval = float(correct[order].mean()), percentiles(drawn[order])
        if order == "ordered":
            return OrderAccuracy(order, value, interval, None)
        change = float(correct[order].mean() - correct["ordered"].mean())
        return OrderAccuracy(order, value, interval, Difference(change, percentiles(drawn[order] - drawn["ordered"])))

    trial = champion.manifest.trial
    return OrderProbe(title, trial.arch, trial.weights, is_champion, tuple(map(accuracy, ORDERS)))


def _drawn_accuracies(draws: GroupResampler, correct: np.ndarray) -> np.ndarray:
    """Return the accuracy in each bootstrap draw `(RESAMPLES,)`, the mean over permutations."""
    each = [accuracies(draws.confusions([0] * len(one), (~one).astype(int).tolist(), 2)) for one in correct]
    return np.mean(each, axis=0)


def _correct(permutations: Sequence[Predictions]) -> np.ndarray:
    """Return whether each clip is classified correctly, bool `(permutations, N)`."""
    return np.stack([(each.logits.argmax(1) == each.labels).numpy() for each in permutations])


def _predictions(
    champion: Champion, clips: Sequence[LabelledFrames], store: FrameStore, order: Order
) -> list[Predictions]:
    """Return the predictions for one order of the frames: `NUM_SHUFFLES` of them for `shuffled`, else one."""
    seeds = range(NUM_SHUFFLES) if order == "shuffled" else range(1)
    return [_predict_reordered(champion, clips, store, _reorder(order, seed)) for seed in seeds]


def _predict_reordered(
    champion: Champion, clips: Sequence[LabelledFrames], store: FrameStore, reorder: _Reorder
) -> Predictions:
    dataset = EvalDataset(clips, store, selection=champion.selection, transform=champion.transform)
    size = champion.manifest.trial.train.max_micro_batch
    batches = eval_loader(dataset, batch_size=size, workers=0, pin_memory=False)

    def reordered() -> Iterator[Batch]:
        for batch in batches:
            frames = [reorder(*one) for one in zip(batch.frames, batch.clip_id, strict=True)]
            yield Batch(torch.stack(frames), batch.label, batch.clip_id)

    return predict(
        champion.model, champion.normalise, reordered(), device=champion.device, precision=champion.precision
    )


def _reorder(order: Order, seed: int) -> _Reorder:
    """Return the function that reorders a clip's frames `(T, 3, S, S)`, given with the clip's ID."""
    if order == "ordered":
        return lambda frames, _: frames
    if order == "reversed":
        return lambda frames, _: frames.flip(0)
    if order == "single frame":
        return lambda frames, _: frames[len(frames) // 2].expand_as(frames)
    return lambda frames, clip: frames[torch.from_numpy(_permutation(len(frames), seed, clip))]


def _permutation(frames: int, seed: int, clip: str) -> np.ndarray:
    """Return a permutation that depends on the clip; with 3 or more frames neither the order nor its reverse."""
    random = np.random.default_rng(derived_seed(seed, *clip.encode()))
    identity = np.arange(frames)
    while True:
        drawn = random.permutation(frames)
        if frames < 3 or not (np.array_equal(drawn, identity) or np.array_equal(drawn, identity[::-1])):
            return drawn
