"""Two processes that train one model together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing, nn

from data.loading.augment import Augment, AugmentSettings
from data.loading.loaders import Batch
from data.loading.transforms import Normalise
from tuning.config.schema.train import TrainConfig
from tuning.training.epoch import DivergenceError, train_one_epoch
from tuning.training.learner import build_learner

RANKS = 2
TRAIN = TrainConfig(epochs=2, warmup_epochs=0.0, ema=0.5)


class LimitedMemory(nn.Module):
    """A batch norm and a head, with memory for a limited number of clips."""

    def __init__(self, max_clips: int) -> None:
        super().__init__()
        self.max_clips = max_clips
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if len(frames) > self.max_clips:
            raise torch.OutOfMemoryError("out of memory")
        return self.head(self.norm(frames.mean(dim=(1, 3, 4))))


def batches_of(*ranks: int) -> list[Batch]:
    """Return two batches with four clips of each rank."""
    batches = []
    for number in range(2):
        generators = [torch.Generator().manual_seed(10 * number + rank) for rank in ranks]
        parts = [torch.randint(0, 256, (4, 2, 3, 4, 4), generator=g, dtype=torch.uint8) for g in generators]
        frames = torch.cat(parts)
        batches.append(Batch(frames, torch.arange(len(frames)) % 2, ["x"] * len(frames)))
    return batches


def train_epoch(
    max_clips: int, *ranks: int, frozen: bool, lr: float = 0.1, check_loss_every: int | None = None
) -> dict[str, Any]:
    """Train an epoch on the ranks' clips; return the weights, their average, the micro-batch and the loss."""
    torch.manual_seed(0)
    train = TRAIN.model_copy(update={"frozen_statistics": frozen, "clip_norm": None})
    learner = build_learner(
        LimitedMemory(max_clips),
        lr,
        train,
        stages=("norm.",),
        steps_per_epoch=2,
        device=torch.device("cpu"),
        precision="fp32",
    )
    augment = Augment(Normalise((0.5,) * 3, (0.25,) * 3), 2, AugmentSettings())
    totals = train_one_epoch(
        learner,
        augment,
        batches_of(*ranks),
        epoch=1,
        seed=0,
        micro_batch=4 * len(ranks),
        check_loss_every=check_loss_every,
    )
    averaged = {f"ema.{key}": value for key, value in learner.eval_model.state_dict().items()}
    return {**learner.model.state_dict(), **averaged, "micro_batch": totals.micro_batch, "loss": totals.loss}


def run_rank(rank: int, folder: str) -> None:
    """Train as one of two ranks in all cases, and write what came out to a file."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=RANKS, timeout=timedelta(minutes=5))
    found = {
        "frozen statistics": train_epoch(4, rank, frozen=True),
        "batch norm": train_epoch(4, rank, frozen=False),
        "out of memory": train_epoch(1 if rank == 1 else 4, rank, frozen=True),
    }
    for name, check_loss_every in (("diverged", None), ("diverged, checked late", 50)):
        try:
            train_epoch(4, rank, frozen=True, lr=1e38 if rank == 1 else 0.1, check_loss_every=check_loss_every)
        except DivergenceError as error:
            found[name] = str(error)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Results of all ranks."""
    folder, threads = tmp_path_factory.mktemp("ranks"), torch.get_num_threads()
    # The last rank runs in this process, which has imported everything already.
    others = multiprocessing.spawn(run_rank, (str(folder),), nprocs=RANKS - 1, join=False)
    try:
        run_rank(RANKS - 1, str(folder))
    finally:
        torch.set_num_threads(threads)
    while not others.join():
        pass
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


def tensors(found: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("case", ["frozen statistics", "batch norm", "out of memory"])
def test_all_ranks_end_with_the_same_model(ranks: list[dict[str, Any]], case: str) -> None:
    left, right = (tensors(rank[case]) for rank in ranks)
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def test_ranks_train_like_one_process_on_all_clips(ranks: list[dict[str, Any]]) -> None:
    single = train_epoch(99, 0, 1, frozen=True)
    for name, value in tensors(single).items():
        torch.testing.assert_close(ranks[0]["frozen statistics"][name], value, atol=1e-6, rtol=0, msg=name)
    assert sum(rank["frozen statistics"]["loss"] for rank in ranks) == pytest.approx(single["loss"], abs=1e-4)


def test_out_of_memory_on_one_rank_repeats_the_batch_on_all(ranks: list[dict[str, Any]]) -> None:
    assert [rank["out of memory"]["micro_batch"] for rank in ranks] == [1, 1]
    for name, value in tensors(ranks[0]["frozen statistics"]).items():
        torch.testing.assert_close(ranks[0]["out of memory"][name], value, atol=1e-6, rtol=0, msg=name)


def test_batch_norm_statistics_are_averaged_over_ranks(ranks: list[dict[str, Any]]) -> None:
    means = []
    for rank in range(RANKS):
        norm = nn.BatchNorm1d(3)
        for batch in batches_of(rank):
            norm(Normalise((0.5,) * 3, (0.25,) * 3)(batch.frames).mean(dim=(1, 3, 4)))
        means.append(norm.running_mean)
    torch.testing.assert_close(ranks[0]["batch norm"]["norm.running_mean"], torch.stack(means).mean(0))


@pytest.mark.parametrize("case", ["diverged", "diverged, checked late"])
def test_divergence_on_one_rank_raises_on_all(ranks: list[dict[str, Any]], case: str) -> None:
    assert all("the training loss became" in rank[case] for rank in ranks)
