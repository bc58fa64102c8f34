from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from data.errors import DataError
from data.loading.sampling import SAMPLERS, EpochSampler, clip_weights, derived_seed

LABELS = [0] * 60 + [1] * 30 + [2] * 10


def draws(kind: str, *, epoch: int = 0, seed: int = 0, rank: int = 0, world_size: int = 1) -> list[int]:
    sampler = EpochSampler(LABELS, kind, seed=seed, rank=rank, world_size=world_size)
    sampler.set_epoch(epoch)
    return [draw.clip for draw in sampler]


def test_imbalanced_draws_each_clip_once_per_epoch() -> None:
    assert sorted(draws("imbalanced")) == list(range(100))


def test_balanced_draws_classes_equally_often() -> None:
    epochs = [draws("balanced", epoch=epoch) for epoch in range(100)]
    assert {len(epoch) for epoch in epochs} == {100}
    counts = Counter(LABELS[clip] for epoch in epochs for clip in epoch)
    # 10,000 draws: three standard deviations of a third are 141.
    assert all(abs(count - 10_000 / 3) < 142 for count in counts.values())


@pytest.mark.parametrize("kind", SAMPLERS)
def test_order_depends_on_the_seed_and_the_epoch(kind: str) -> None:
    assert draws(kind, epoch=3, seed=1) == draws(kind, epoch=3, seed=1)
    assert draws(kind, epoch=3, seed=1) != draws(kind, epoch=4, seed=1)
    assert draws(kind, epoch=3, seed=1) != draws(kind, epoch=3, seed=2)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_divide_an_epoch_into_equal_numbers_of_draws(kind: str, world_size: int) -> None:
    parts = [draws(kind, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    together = [clip for step in zip(*parts, strict=True) for clip in step]
    whole = draws(kind)
    assert together[:100] == whole
    assert together[100:] == whole[: len(together) - 100]


def test_positions_distinguish_draws_of_one_clip() -> None:
    sampler = EpochSampler(LABELS, "balanced", seed=0)
    assert len({(draw.epoch, draw.position) for draw in sampler}) == 100


def test_sqrt_draws_classes_in_proportion_to_square_roots() -> None:
    counts = Counter(LABELS[clip] for epoch in range(100) for clip in draws("sqrt", epoch=epoch))
    roots = np.sqrt([60, 30, 10])
    for label, share in enumerate(roots / roots.sum()):
        assert abs(counts[label] - 10_000 * share) < 3 * np.sqrt(10_000 * share * (1 - share))


def test_clip_weights_give_each_class_its_share_with_a_mean_of_one() -> None:
    labels = torch.tensor(LABELS)
    for power, parts in ((0.0, [0.6, 0.3, 0.1]), (1.0, [1 / 3] * 3)):
        weights = clip_weights(labels, power)
        assert float(weights.mean()) == pytest.approx(1)
        assert [float(weights[labels == k].sum()) / 100 for k in range(3)] == pytest.approx(parts)


def test_unknown_sampler_raises() -> None:
    with pytest.raises(DataError, match="^the sampler is 'even'; give one of imbalanced, sqrt, balanced$"):
        EpochSampler(LABELS, "even", seed=0)


def test_derived_seeds_of_neighbouring_positions_differ() -> None:
    seeds = {derived_seed(0, epoch, draw) for epoch in range(20) for draw in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
