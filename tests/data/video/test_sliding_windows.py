"""A long video read as sliding windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.video.container import UnusableClipError
from data.video.sliding_windows import SlidingWindows, video_duration
from tests.helpers.video_files import brightness, corrupt_packets, grey_levels, write_video

POSITIONS = (np.arange(5) + 0.5) / 5
SOURCE = grey_levels(50)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 frames per second."""
    return write_video(tmp_path_factory.mktemp("videos") / "video.mp4", SOURCE, options={"bf": "0", "g": "10"})


def windows(file: Path, *, seconds: float = 1.0, hop: float = 0.4) -> SlidingWindows:
    return SlidingWindows(file, seconds=seconds, hop=hop, positions=POSITIONS, short_side=32)


def test_windows_show_the_frames_on_screen_at_their_positions(video: Path) -> None:
    sliding = windows(video)
    found = list(sliding)
    np.testing.assert_allclose([(w.start, w.end) for w in found], [(0, 1), (0.4, 1.4), (0.8, 1.8), (1, 2)])
    assert len(sliding) == 4
    assert sliding.damage == ""
    for window in found:
        first = round(25 * window.start)
        expected = [SOURCE[first + index].mean() for index in (2, 7, 12, 17, 22)]
        assert window.frames.shape == (5, 32, 43, 3)
        np.testing.assert_allclose(brightness(window.frames), expected, atol=4)


def test_short_video_is_one_window(video: Path) -> None:
    (window,) = windows(video, seconds=10, hop=5)
    assert (window.start, window.end) == pytest.approx((0, 2))
    assert video_duration(video) == pytest.approx(2)


@pytest.mark.parametrize(("seconds", "hop"), [(1, 0), (1, 1.5), (0, 0)])
def test_invalid_lengths_are_rejected(video: Path, seconds: float, hop: float) -> None:
    with pytest.raises(DataError, match=f"windows of {seconds:g} s with a hop of {hop:g} s: both must be above 0"):
        windows(video, seconds=seconds, hop=hop)


def test_hop_shorter_than_a_frame_is_rejected(video: Path) -> None:
    assert len(windows(video, hop=0.04)) == 26
    with pytest.raises(DataError, match="a hop of 1e-09 s, which is shorter than a frame; raise the hop"):
        windows(video, hop=1e-9)


def test_damage_is_reported_after_the_iteration(video: Path) -> None:
    sliding = windows(corrupt_packets(video, range(20, 30), header=True))
    assert len(list(sliding)) == 4
    assert "sampled frames don't decode (" in sliding.damage
    with pytest.raises(UnusableClipError, match="none of its frames decodes"):
        list(windows(corrupt_packets(video, range(50), header=True)))
