"""Does time matter? A model's answers to clips whose frames come in other orders, or of which it sees one alone."""

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
_Reorder = Callable[[torch.Tensor, str], torch.Tensor]

SHUFFLES = 3
"""Permutations that each clip is seen in; the mean over them counts."""

SMALLEST = 0.005
"""A change in accuracy below this is none: sums in another order round otherwise."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One model under one order of the frames."""

    order: Order
    accuracy: float
    interval: Interval
    """Over groups of clips."""
    lost: Difference | None
    """Accuracy under this order minus that with the frames in order, clip by clip; None for `ordered`."""


@dataclass(frozen=True, slots=True)
class OrderProbe:
    """What one model made of all orders."""

    title: str
    """Of its trial."""
    arch: str
    weights: str
    champion: bool
    rows: tuple[OrderRow, ...]
    """In the order of `ORDERS`."""

    def row(self, order: Order) -> OrderRow:
        """The row of one order."""
        return next(row for row in self.rows if row.order == order)

    @property
    def loses(self) -> bool:
        """Whether it is certain that it answers worse with the frames shuffled."""
        lost = self.row("shuffled").lost
        assert lost is not None
        return lost.excludes_zero and lost.value < -SMALLEST

    @property
    def blind(self) -> bool:
        """Whether shuffling the frames changes none of its answers to speak of."""
        return abs(_lost(self)) <= SMALLEST


def probe(
    champion: Champion,
    clips: Sequence[LabelledFrames],
    store: FrameStore,
    groups: Sequence[str],
    *,
    title: str,
    is_champion: bool,
    ordered: Predictions | None = None,
) -> OrderProbe:
    """Ask one model about all clips in every order.

    Args:
        champion: the model.
        clips: at least one.
        store: has their frames.
        groups: of each clip.
        title: of its trial.
        is_champion: whether it is the sweep's.
        ordered: its answers to the clips as they are, if it was asked before.
    """
    right = {order: _right(champion, clips, store, order) for order in ORDERS if order != "ordered" or ordered is None}
    if ordered is not None:
        right["ordered"] = _compared([ordered])
    draws = GroupResampler(groups)
    drawn = {order: _drawn(draws, each) for order, each in right.items()}
    rows = [
        OrderRow(
            order,
            float(right[order].mean()),
            percentiles(drawn[order]),
            None
            if order == "ordered"
            else Difference(
                float(right[order].mean() - right["ordered"].mean()), percentiles(drawn[order] - drawn["ordered"])
            ),
        )
        for order in ORDERS
    ]
    trial = champion.manifest.trial
    return OrderProbe(title, trial.arch, trial.weights, is_champion, tuple(rows))


def _drawn(draws: GroupResampler, right: np.ndarray) -> np.ndarray:
    """Accuracy in each draw; each permutation's answers count alike."""
    each = [accuracies(draws.confusions([0] * len(one), (~one).astype(int).tolist(), 2)) for one in right]
    return np.mean(each, axis=0)


def _right(champion: Champion, clips: Sequence[LabelledFrames], store: FrameStore, order: Order) -> np.ndarray:
    """Whether each clip is answered right, bool `(permutations, N)`."""
    seeds = range(SHUFFLES) if order == "shuffled" else range(1)
    return _compared([_answers(champion, clips, store, _reorder(order, seed)) for seed in seeds])


def _compared(answers: Sequence[Predictions]) -> np.ndarray:
    return np.stack([(each.logits.argmax(1) == each.labels).numpy() for each in answers])


def _answers(
    champion: Champion,
    clips: Sequence[LabelledFrames],
    store: FrameStore,
    reorder: Callable[[torch.Tensor, str], torch.Tensor],
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
    """From a clip's frames `(T, 3, S, S)` and id to as many frames in the order asked for."""
    if order == "ordered":
        return lambda frames, _: frames
    if order == "reversed":
        return lambda frames, _: frames.flip(0)
    if order == "single frame":
        return lambda frames, _: frames[len(frames) // 2].expand_as(frames)
    return lambda frames, clip: frames[torch.from_numpy(_permutation(len(frames), seed, clip))]


def _permutation(frames: int, seed: int, clip: str) -> np.ndarray:
    """Never the order itself, nor the reverse, if there are three frames or more."""
    random = np.random.default_rng(derived_seed(seed, *clip.encode()))
    plain = np.arange(frames)
    while True:
        drawn = random.permutation(frames)
        if frames < 3 or not (np.array_equal(drawn, plain) or np.array_equal(drawn, plain[::-1])):
            return drawn


def sentence(probes: Sequence[OrderProbe]) -> str:
    """What the probes allow to conclude about time."""
    losing = [each for each in probes if each.loses]
    if losing:
        most = min(losing, key=lambda each: _lost(each))
        lost = most.row("shuffled").lost
        assert lost is not None
        said = (
            f"Time matters to {most.arch}: it is right on {most.row('ordered').accuracy:.3f} of the test clips in "
            f"order, on {most.row('shuffled').accuracy:.3f} with their frames shuffled, a change of {lost.summary}."
            f"{_without_order(most, probes)}"
        )
    elif all(each.blind for each in probes):
        said = (
            "No model here looks at the order of frames: shuffling them changes no answer to speak of, so this sweep "
            "can't tell whether time matters."
        )
    else:
        changes = ", ".join(f"{each.arch} {each.row('shuffled').lost.summary}" for each in probes)  # type: ignore[union-attr]
        said = f"These data can't tell whether time matters: shuffling the frames changes accuracy by {changes}."
    return f"{said}{_confound(probes)}"


def _without_order(most: OrderProbe, probes: Sequence[OrderProbe]) -> str:
    """A model trained on frames in order may stumble over others where their order tells nothing: what one does that
    takes no notice of it says whether the clips need it."""
    blind = [each for each in probes if each.blind]
    if not blind:
        return " Whether the classes can be told apart without it is not known: no model here takes no notice of order."
    best = max(blind, key=lambda each: each.row("ordered").accuracy)
    accuracy = best.row("ordered").accuracy
    told = f"{best.arch}, which takes no notice of their order, is right on {accuracy:.3f}."
    needless = accuracy >= most.row("ordered").accuracy
    return f" These clips don't need it, though: {told}" if needless else f" Beside it, {told}"


def _lost(each: OrderProbe) -> float:
    lost = each.row("shuffled").lost
    assert lost is not None
    return lost.value


def _confound(probes: Sequence[OrderProbe]) -> str:
    if len({each.weights for each in probes}) < 2:
        return ""
    told = ", ".join(f"{each.arch} from {each.weights}" for each in probes)
    return (
        f" The models start from different weights ({told}): what one is better by than another may be its "
        "pretraining, not its view of time; each model's own loss by shuffling is not touched by that."
    )
