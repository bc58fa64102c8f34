from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.helpers.command_line import run_python
from benchmarks.helpers.decoding_trial import DecodingStore
from benchmarks.helpers.noise_training import choose_workload
from benchmarks.helpers.peers import find_peers
from benchmarks.helpers.tables import ratios, spread
from benchmarks.helpers.videos import encode_video
from data.video.decode import DecodeSettings


def test_spread_is_the_median_with_the_range() -> None:
    assert spread([2.0, 1.0, 4.0], ".1f", "s") == "2.0 s (1.0 to 4.0)"


def test_spread_has_no_range_if_all_values_look_the_same() -> None:
    assert spread([1.001, 1.002], ".2f") == "1.00"
    assert spread([]) == ""


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_missing_peers_are_listed_with_the_reason() -> None:
    def fails() -> tuple[str, int]:
        raise ModuleNotFoundError("No module named 'peer'\nsecond line")

    found, missing = find_peers({"one": lambda: ("one 1.0", 1), "other": fails})
    assert found == {"one 1.0": 1}
    assert missing == ["other: ModuleNotFoundError: No module named 'peer'"]


def test_failed_child_process_ends_the_benchmark_with_its_error() -> None:
    with pytest.raises(SystemExit, match=r"(?s)the check failed:.*ZeroDivisionError"):
        run_python(["-c", "1 / 0"], "the check")


def test_encoded_video_has_the_frames_that_a_decoding_store_reads(tmp_path: Path) -> None:
    grey_values = range(20, 220, 20)
    frames = (np.full((48, 64, 3), value, np.uint8) for value in grey_values)
    file = tmp_path / "clip.mp4"
    encode_video(file, frames, fps=10, options={"crf": "0"})
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.average_rate, stream.width, stream.height) == (10, 10, 64, 48)
    read = DecodingStore(DecodeSettings(frames=5, short_side=24)).read(str(file))
    assert read.shape == (5, 24, 32, 3)
    assert read.mean((1, 2, 3)) == pytest.approx(list(grey_values)[1::2], abs=3)


def test_workload_has_the_smallest_legal_clip_of_at_least_the_given_size() -> None:
    assert choose_workload("resnet18", 4).clip == "8 × 224²"
    workload = choose_workload("c3d", 4, frames=2, size=1)
    assert workload.frames >= 2
    assert choose_workload("c3d", 4, workload.frames, workload.size) == workload
