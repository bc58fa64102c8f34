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


class Small(nn.Module):
    """Statistics of clips, and memory for so many of them at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if len(frames) > self.room:
            raise torch.OutOfMemoryError("no room")
        return self.head(self.norm(frames.mean(dim=(1, 3, 4))))


def clips(*ranks: int) -> list[Batch]:
    """Two batches of four clips a rank; all ranks' clips one after another."""
    batches = []
    for number in range(2):
        parts = [torch.Generator().manual_seed(10 * number + rank) for rank in ranks]
        frames = torch.cat([torch.randint(0, 256, (4, 2, 3, 4, 4), generator=g, dtype=torch.uint8) for g in parts])
        batches.append(Batch(frames, torch.arange(len(frames)) % 2, ["x"] * len(frames)))
    return batches


def epoch(room: int, *ranks: int, frozen: bool, lr: float = 0.1, check_loss_every: int | None = None) -> dict[str, Any]:
    """The model after an epoch over the ranks' clips, and what was reported."""
    torch.manual_seed(0)
    train = TRAIN.model_copy(update={"frozen_statistics": frozen, "clip_norm": None})
    learner = build_learner(
        Small(room),
        lr,
        train,
        stages=("norm.",),
        steps_per_epoch=2,
        device=torch.device("cpu"),
        precision="fp32",
    )
    augment = Augment(Normalise((0.5,) * 3, (0.25,) * 3), 2, AugmentSettings())
    sums = train_one_epoch(
        learner, augment, clips(*ranks), epoch=1, seed=0, micro_batch=4 * len(ranks), check_loss_every=check_loss_every
    )
    return {**learner.model.state_dict(), **{f"ema.{k}": v for k, v in learner.eval_model.state_dict().items()}} | {
        "micro_batch": sums.micro_batch,
        "loss": sums.loss,
    }


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=RANKS, timeout=timedelta(minutes=5))
    found = {
        "frozen": epoch(4, rank, frozen=True),
        "norm": epoch(4, rank, frozen=False),
        "one is short of memory": epoch(1 if rank == 1 else 4, rank, frozen=True),
    }
    for name, check_loss_every in (("diverged", None), ("diverged, seen late", 50)):
        try:
            epoch(4, rank, frozen=True, lr=1e38 if rank == 1 else 0.1, check_loss_every=check_loss_every)
        except DivergenceError as fault:
            found[name] = str(fault)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder, threads = tmp_path_factory.mktemp("ranks"), torch.get_num_threads()
    # The last rank here, which has imported already what takes seconds; it returns once the others have come as far.
    others = multiprocessing.spawn(one_rank, (str(folder),), nprocs=RANKS - 1, join=False)
    try:
        one_rank(RANKS - 1, str(folder))
    finally:
        torch.set_num_threads(threads)
    while not others.join():
        pass
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


def tensors(found: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("case", ["frozen", "norm", "one is short of memory"])
def test_all_ranks_end_with_the_same_model(ranks: list[dict[str, Any]], case: str) -> None:
    left, right = (tensors(rank[case]) for rank in ranks)
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def test_ranks_train_as_one_process_would_on_all_their_clips(ranks: list[dict[str, Any]]) -> None:
    whole = epoch(99, 0, 1, frozen=True)
    for name, value in tensors(whole).items():
        torch.testing.assert_close(ranks[0]["frozen"][name], value, atol=1e-6, rtol=0, msg=name)
    assert sum(rank["frozen"]["loss"] for rank in ranks) == pytest.approx(whole["loss"], abs=1e-4)


def test_where_one_rank_runs_out_of_memory_all_do_the_batch_again(ranks: list[dict[str, Any]]) -> None:
    assert [rank["one is short of memory"]["micro_batch"] for rank in ranks] == [1, 1]
    for name, value in tensors(ranks[0]["frozen"]).items():
        torch.testing.assert_close(ranks[0]["one is short of memory"][name], value, atol=1e-6, rtol=0, msg=name)


def test_statistics_are_the_mean_of_the_ranks(ranks: list[dict[str, Any]]) -> None:
    means = []
    for rank in range(RANKS):
        norm = nn.BatchNorm1d(3)
        for batch in clips(rank):
            norm(Normalise((0.5,) * 3, (0.25,) * 3)(batch.frames).mean(dim=(1, 3, 4)))
        means.append(norm.running_mean)
    torch.testing.assert_close(ranks[0]["norm"]["norm.running_mean"], torch.stack(means).mean(0))


@pytest.mark.parametrize("case", ["diverged", "diverged, seen late"])
def test_where_one_rank_diverges_all_end(ranks: list[dict[str, Any]], case: str) -> None:
    assert all("the training loss became" in rank[case] for rank in ranks)
