from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.loading.sampling import SAMPLERS, EpochSampler, FrameSelection, balance_weights, derived_seed

LABELS = [0] * 60 + [1] * 30 + [2] * 10


@given(stored=st.integers(1, 64), num_frames=st.integers(1, 64), views=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_uniform_frames_are_in_order_and_one_of_each_segment(
    stored: int, num_frames: int, views: int, seed: int
) -> None:
    selection = FrameSelection(num_frames)
    start = np.arange(num_frames) * stored / num_frames
    for indices in (
        selection.train_indices(stored, np.random.default_rng(seed)),
        *(selection.eval_indices(stored, view, views) for view in range(views)),
    ):
        assert indices.shape == (num_frames,)
        assert (np.diff(indices) >= 0).all()
        assert (indices >= np.floor(start)).all()
        assert (indices <= np.minimum(stored - 1, start + stored / num_frames)).all()


@given(
    spare=st.integers(0, 40),
    num_frames=st.integers(1, 16),
    stride=st.integers(1, 4),
    views=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_dense_frames_follow_each_other(spare: int, num_frames: int, stride: int, views: int, seed: int) -> None:
    selection = FrameSelection(num_frames, "dense", stride)
    stored = selection.span + spare
    windows = [selection.eval_indices(stored, view, views) for view in range(views)]
    for indices in (selection.train_indices(stored, np.random.default_rng(seed)), *windows):
        assert (np.diff(indices) == stride).all()
        assert indices[0] >= 0
        assert indices[-1] < stored
    starts = [window[0] for window in windows]
    assert starts == sorted(starts)
    # The views share out the places evenly: the first and the last lie as far from the clip's ends.
    assert abs(starts[0] - (spare - starts[-1])) <= 1


def test_evaluation_takes_the_centres() -> None:
    assert FrameSelection(8).eval_indices(32).tolist() == [2, 6, 10, 14, 18, 22, 26, 30]
    assert FrameSelection(16).eval_indices(16).tolist() == list(range(16))
    assert FrameSelection(4, "dense", 2).eval_indices(17).tolist() == [5, 7, 9, 11]


def test_views_see_other_frames() -> None:
    assert [FrameSelection(2).eval_indices(8, view, 2).tolist() for view in range(2)] == [[1, 5], [3, 7]]
    dense = FrameSelection(3, "dense")
    assert [dense.eval_indices(9, view, 3).tolist() for view in range(3)] == [[1, 2, 3], [3, 4, 5], [5, 6, 7]]


def test_training_reaches_every_place() -> None:
    rng = np.random.default_rng(0)
    windows = {int(FrameSelection(4, "dense").train_indices(8, rng)[0]) for _ in range(200)}
    assert windows == {0, 1, 2, 3, 4}
    frames = {int(i) for _ in range(200) for i in FrameSelection(4).train_indices(8, rng)}
    assert frames == set(range(8))


@given(
    stored=st.integers(1, 64),
    num_frames=st.integers(1, 64),
    min_span=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**32),
)
def test_a_part_of_the_clip_is_no_shorter_than_asked_and_stays_in_the_clip(
    stored: int, num_frames: int, min_span: float, seed: int
) -> None:
    indices = FrameSelection(num_frames, min_span=min_span).train_indices(stored, np.random.default_rng(seed))
    assert indices.shape == (num_frames,)
    assert (np.diff(indices) >= 0).all()
    assert indices[0] >= 0
    assert indices[-1] < stored
    # The first and the last segment's frames lie anywhere in them.
    assert indices[-1] - indices[0] >= min_span * stored * (num_frames - 2) / num_frames - 1


def test_parts_of_a_clip_vary_in_length_and_place_and_evaluation_sees_the_whole() -> None:
    rng = np.random.default_rng(0)
    selection = FrameSelection(8, min_span=0.5)
    draws = [selection.train_indices(640, rng) for _ in range(300)]
    lengths = [int(indices[-1] - indices[0]) for indices in draws]
    assert min(lengths) < 320 < 480 < max(lengths)
    assert min(int(indices[0]) for indices in draws) < 40
    assert max(int(indices[-1]) for indices in draws) > 600
    assert selection.eval_indices(640).tolist() == FrameSelection(8).eval_indices(640).tolist()


def test_without_parts_the_whole_clip_is_drawn_from() -> None:
    drawn = FrameSelection(8).train_indices(32, np.random.default_rng(3))
    assert drawn.tolist() == ((np.arange(8) + np.random.default_rng(3).random(8)) * 4).astype(int).tolist()


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="^16 frames at stride 2 span 31 stored frames, a clip has 30: keep more"):
        FrameSelection(16, "dense", 2).eval_indices(30)
    with pytest.raises(DataError, match="no frame selection is called 'sparse': there are uniform, dense"):
        FrameSelection(16, "sparse")
    with pytest.raises(DataError, match="min_span .0.5. has no effect on dense frames"):
        FrameSelection(16, "dense", min_span=0.5)


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


@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_seed_and_the_epoch_decide_the_order(kind: str) -> None:
    assert draws(kind, epoch=3, seed=1) == draws(kind, epoch=3, seed=1)
    assert draws(kind, epoch=3, seed=1) != draws(kind, epoch=4, seed=1)
    assert draws(kind, epoch=3, seed=1) != draws(kind, epoch=3, seed=2)


@pytest.mark.parametrize("kind", SAMPLERS)
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


def test_sqrt_lies_between_them() -> None:
    counts = Counter(LABELS[clip] for epoch in range(100) for clip in draws("sqrt", epoch=epoch))
    roots = np.sqrt([60, 30, 10])
    for label, share in enumerate(roots / roots.sum()):
        assert abs(counts[label] - 10_000 * share) < 3 * np.sqrt(10_000 * share * (1 - share))


def test_weights_give_each_class_its_part_and_each_clip_one_on_average() -> None:
    labels = torch.tensor(LABELS)
    for power, parts in ((0.0, [0.6, 0.3, 0.1]), (1.0, [1 / 3] * 3)):
        weights = balance_weights(labels, power)
        assert float(weights.mean()) == pytest.approx(1)
        assert [float(weights[labels == k].sum()) / 100 for k in range(3)] == pytest.approx(parts)


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(DataError, match="^no sampler is called 'even': there are imbalanced, sqrt, balanced$"):
        EpochSampler(LABELS, "even", seed=0)


def test_seeds_of_neighbouring_places_differ() -> None:
    seeds = {derived_seed(0, epoch, draw) for epoch in range(20) for draw in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
