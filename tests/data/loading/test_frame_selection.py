from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.loading.frame_selection import FrameSelection


@given(stored=st.integers(1, 64), num_frames=st.integers(1, 64), views=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_uniform_selection_takes_one_frame_of_each_segment_in_order(
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
def test_dense_selection_takes_every_stride_th_frame(
    spare: int, num_frames: int, stride: int, views: int, seed: int
) -> None:
    selection = FrameSelection(num_frames, "dense", stride)
    stored = selection.span + spare
    windows = [selection.eval_indices(stored, view, views) for view in range(views)]
    for indices in (selection.train_indices(stored, np.random.default_rng(seed)), *windows):
        assert (np.diff(indices) == stride).all()
        assert indices[0] >= 0
        assert indices[-1] < stored
    starts = [window[0] for window in windows]
    assert starts == sorted(starts)
    # Views are spread evenly: the first and the last are equally far from the ends of the clip.
    assert abs(starts[0] - (spare - starts[-1])) <= 1


def test_evaluation_takes_the_centres_of_segments_or_of_the_clip() -> None:
    assert FrameSelection(8).eval_indices(32).tolist() == [2, 6, 10, 14, 18, 22, 26, 30]
    assert FrameSelection(16).eval_indices(16).tolist() == list(range(16))
    assert FrameSelection(4, "dense", 2).eval_indices(17).tolist() == [5, 7, 9, 11]


def test_views_take_different_frames() -> None:
    assert [FrameSelection(2).eval_indices(8, view, 2).tolist() for view in range(2)] == [[1, 5], [3, 7]]
    dense = FrameSelection(3, "dense")
    assert [dense.eval_indices(9, view, 3).tolist() for view in range(3)] == [[1, 2, 3], [3, 4, 5], [5, 6, 7]]


def test_training_reaches_every_frame_and_window() -> None:
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
def test_min_span_limits_the_part_that_training_frames_cover(
    stored: int, num_frames: int, min_span: float, seed: int
) -> None:
    indices = FrameSelection(num_frames, min_span=min_span).train_indices(stored, np.random.default_rng(seed))
    assert indices.shape == (num_frames,)
    assert (np.diff(indices) >= 0).all()
    assert indices[0] >= 0
    assert indices[-1] < stored
    # The frames of the first and the last segment can be anywhere in them.
    assert indices[-1] - indices[0] >= min_span * stored * (num_frames - 2) / num_frames - 1


def test_min_span_varies_length_and_start_in_training_only() -> None:
    rng = np.random.default_rng(0)
    selection = FrameSelection(8, min_span=0.5)
    draws = [selection.train_indices(640, rng) for _ in range(300)]
    lengths = [int(indices[-1] - indices[0]) for indices in draws]
    assert min(lengths) < 320 < 480 < max(lengths)
    assert min(int(indices[0]) for indices in draws) < 40
    assert max(int(indices[-1]) for indices in draws) > 600
    assert selection.eval_indices(640).tolist() == FrameSelection(8).eval_indices(640).tolist()


def test_training_covers_the_whole_clip_by_default() -> None:
    drawn = FrameSelection(8).train_indices(32, np.random.default_rng(3))
    assert drawn.tolist() == ((np.arange(8) + np.random.default_rng(3).random(8)) * 4).astype(int).tolist()


def test_window_that_does_not_fit_and_bad_settings_raise() -> None:
    with pytest.raises(DataError, match="^16 frames at stride 2 span 31 stored frames, but a clip has 30; store more"):
        FrameSelection(16, "dense", 2).eval_indices(30)
    with pytest.raises(DataError, match="the frame selection is 'sparse'; give one of uniform, dense"):
        FrameSelection(16, "sparse")
    with pytest.raises(DataError, match="min_span .0.5. has no effect on dense frames"):
        FrameSelection(16, "dense", min_span=0.5)
