from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.sampling import EpochSampler, derived_seed, eval_frame_indices, train_frame_indices

LABELS = [0] * 60 + [1] * 30 + [2] * 10


@given(stored=st.integers(1, 64), num_frames=st.integers(1, 64), seed=st.integers(0, 2**32))
def test_frame_indices_are_in_order_and_one_of_each_segment(stored: int, num_frames: int, seed: int) -> None:
    for indices in (
        eval_frame_indices(stored, num_frames),
        train_frame_indices(stored, num_frames, np.random.default_rng(seed)),
    ):
        assert indices.shape == (num_frames,)
        assert (np.diff(indices) >= 0).all()
        start = np.arange(num_frames) * stored / num_frames
        assert (indices >= np.floor(start)).all()
        assert (indices <= np.minimum(stored - 1, start + stored / num_frames)).all()


def test_evaluation_takes_the_centres() -> None:
    assert eval_frame_indices(32, 8).tolist() == [2, 6, 10, 14, 18, 22, 26, 30]
    assert eval_frame_indices(16, 16).tolist() == list(range(16))


def draws(kind: str, *, epoch: int = 0, seed: int = 0, rank: int = 0, world_size: int = 1) -> list[int]:
    sampler = EpochSampler(LABELS, kind, seed=seed, rank=rank, world_size=world_size)
    sampler.set_epoch(epoch)
    return [draw.clip for draw in sampler]


def test_imbalanced_draws_each_clip_once() -> None:
    assert sorted(draws("imbalanced")) == list(range(100))


def test_balanced_draws_classes_equally_often_and_as_many_clips() -> None:
    epochs = [draws("balanced", epoch=epoch) for epoch in range(100)]
    assert {len(epoch) for epoch in epochs} == {100}
    counts = Counter(LABELS[clip] for epoch in epochs for clip in epoch)
    # 10,000 draws: three standard deviations of a third are 141.
    assert all(abs(count - 10_000 / 3) < 142 for count in counts.values())


@pytest.mark.parametrize("kind", ["imbalanced", "balanced"])
def test_the_seed_and_the_epoch_decide_the_order(kind: str) -> None:
    assert draws(kind, epoch=3, seed=1) == draws(kind, epoch=3, seed=1)
    assert draws(kind, epoch=3, seed=1) != draws(kind, epoch=4, seed=1)
    assert draws(kind, epoch=3, seed=1) != draws(kind, epoch=3, seed=2)


@pytest.mark.parametrize("kind", ["imbalanced", "balanced"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_out_one_epoch_in_equal_steps(kind: str, world_size: int) -> None:
    parts = [draws(kind, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    together = [clip for step in zip(*parts, strict=True) for clip in step]
    whole = draws(kind)
    assert together[:100] == whole
    assert together[100:] == whole[: len(together) - 100]


def test_positions_tell_apart_two_draws_of_one_clip() -> None:
    sampler = EpochSampler(LABELS, "balanced", seed=0)
    assert len({(draw.epoch, draw.position) for draw in sampler}) == 100


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(DataError, match="^no sampler is called 'sqrt': there are imbalanced, balanced$"):
        EpochSampler(LABELS, "sqrt", seed=0)


def test_seeds_of_neighbouring_places_differ() -> None:
    seeds = {derived_seed(0, epoch, draw) for epoch in range(20) for draw in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
