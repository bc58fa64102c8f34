import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset.clips import read_groups, scan_clips
from data.demo import TIME_PAIR, DemoClip, plan_demo, write_demo, writer
from data.errors import DataError
from data.video.decode import DecodeSettings, decode_clip

ROOT = Path(__file__).parents[3]
ALL_CLASSES = 10


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[DemoClip]]:
    out = tmp_path_factory.mktemp("demo") / "clips"
    return out, write_demo(out, classes=ALL_CLASSES, clips_per_class=6, seed=4, progress=False)


@pytest.fixture(scope="module")
def frames(demo: tuple[Path, list[DemoClip]]) -> dict[str, np.ndarray]:
    out, plan = demo
    decoded = {clip.path: decode_clip(out / clip.path, DecodeSettings(frames=16, short_side=64)) for clip in plan}
    assert not any(clip.facts.damage for clip in decoded.values())
    return {path: clip.frames.astype(np.float64) for path, clip in decoded.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("small") / "clips"
    write_demo(out, classes=2, clips_per_class=3, progress=False)
    return out


@pytest.fixture
def small(tmp_path: Path, written: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(written, tmp_path / "clips")


def central_square(frames: np.ndarray) -> np.ndarray:
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top : top + side, left : left + side]


def snapshot(out: Path) -> dict[str, tuple[int, bytes]]:
    files = (file for file in out.rglob("*") if file.is_file())
    return {str(file.relative_to(out)): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@given(classes=st.integers(2, ALL_CLASSES), clips=st.integers(3, 80), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_plan_has_the_documented_class_and_group_sizes(classes: int, clips: int, seed: int) -> None:
    plan = plan_demo(classes, clips, seed)
    sizes = Counter(clip.label for clip in plan)
    labels = list(sizes)

    assert tuple(labels[:2]) == TIME_PAIR
    assert len(labels) == classes
    assert sizes[labels[0]] == sizes[labels[1]] == clips
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert len({clip.path for clip in plan}) == len(plan)
    for label in labels:
        by_group = Counter(clip.group for clip in plan if clip.label == label)
        assert len(by_group) >= (4 if clips >= 12 else 3)
        assert max(by_group.values()) <= 4
        if sizes[label] >= 8:
            assert min(by_group.values()) >= 2
    assert len({(clip.group, clip.label) for clip in plan}) == len({clip.group for clip in plan})


def test_rarest_class_has_a_third_of_the_clips() -> None:
    sizes = Counter(clip.label for clip in plan_demo(6, 30, 0))
    assert list(sizes.values()) == [30, 30, 23, 17, 13, 10]


def test_plan_depends_on_the_parameters_alone() -> None:
    assert plan_demo(6, 30, 0) == plan_demo(6, 30, 0)
    assert plan_demo(6, 30, 0) != plan_demo(6, 30, 1)


@pytest.mark.parametrize(
    ("classes", "clips", "seed", "message"),
    [
        (1, 30, 0, "classes is 1, but there are 10 demo classes; give 2 to 10"),
        (11, 30, 0, "classes is 11, but there are 10 demo classes; give 2 to 10"),
        (6, 2, 0, "clips per class is 2; give 3, for three splits, to 100000"),
        (6, 10**20, 0, "clips per class is 100000000000000000000; give 3, for three splits, to 100000"),
        (6, 30, -1, "seed is -1; give 0 or more"),
    ],
)
def test_parameters_out_of_range_raise(tmp_path: Path, classes: int, clips: int, seed: int, message: str) -> None:
    with pytest.raises(DataError) as error:
        write_demo(tmp_path / "clips", classes=classes, clips_per_class=clips, seed=seed)
    assert str(error.value) == message
    assert not (tmp_path / "clips").exists()


def test_scan_of_the_folder_finds_the_planned_clips(demo: tuple[Path, list[DemoClip]]) -> None:
    out, plan = demo
    scan = scan_clips(out, read_groups(str(out / "sources.csv")))
    assert {(clip.path, clip.label, clip.group) for clip in scan.clips} == {
        (clip.path, clip.label, clip.group) for clip in plan
    }
    assert scan.ignored == ()
    assert {Path(clip.path).suffix for clip in plan} == {".mp4", ".MOV", ".mkv"}


def test_files_are_h264_videos_of_one_to_four_seconds(demo: tuple[Path, list[DemoClip]]) -> None:
    out, plan = demo
    rates, sizes = set(), set()
    for clip in plan:
        with av.open(str(out / clip.path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert stream.average_rate is not None
            count = sum(1 for _ in container.decode(stream))
            assert 0.95 <= count / stream.average_rate <= 4.05
            rates.add(round(float(stream.average_rate), 2))
            sizes.add((stream.width, stream.height))
    assert min(rates) >= 23.9
    assert max(rates) <= 60.0
    assert len(rates) > 3
    assert any(width > height for width, height in sizes)
    assert any(width < height for width, height in sizes)


def test_figure_moves_inside_the_central_square(
    demo: tuple[Path, list[DemoClip]], frames: dict[str, np.ndarray]
) -> None:
    for clip in demo[1]:
        moving = frames[clip.path].std(axis=0, keepdims=True).max(axis=-1) > 25
        assert moving.mean() > 0.01, clip.path
        assert central_square(moving).sum() > 0.8 * moving.sum(), clip.path


def upward_motion_far_from_body(frames: np.ndarray) -> float:
    """Return how far the moving pixels far from the body go up between frames, weighted by their area."""
    square = central_square(frames)
    moving = np.clip(np.abs(square - square.mean(axis=0)).sum(axis=-1) - 75, 0, None)
    mass, column = moving.sum(axis=(0, 1)), np.arange(moving.shape[1])
    centre = (mass * column).sum() / mass.sum()
    spread = np.sqrt((mass * (column - centre) ** 2).sum() / mass.sum())
    wide = moving[:, :, np.abs(column - centre) > 0.7 * spread]
    area = wide.sum(axis=(1, 2))
    height = -(wide.sum(axis=2) * column).sum(axis=1) / (area + 1)
    return float((np.diff(height) * np.minimum(area[1:], area[:-1])).sum())


def test_order_of_frames_separates_the_time_pair(
    demo: tuple[Path, list[DemoClip]], frames: dict[str, np.ndarray]
) -> None:
    pair = [clip for clip in demo[1] if clip.label in TIME_PAIR]
    for step in (1, 2):
        right = [
            (upward_motion_far_from_body(frames[clip.path][::step]) > 0) == (clip.label == TIME_PAIR[0])
            for clip in pair
        ]
        assert all(right)


def test_time_reversal_swaps_the_time_pair(demo: tuple[Path, list[DemoClip]], frames: dict[str, np.ndarray]) -> None:
    for clip in demo[1]:
        if clip.label in TIME_PAIR:
            forwards, reverse = (upward_motion_far_from_body(frames[clip.path][::step]) for step in (1, -1))
            assert reverse == pytest.approx(-forwards)
            mirrored = upward_motion_far_from_body(frames[clip.path][:, :, ::-1])
            assert np.sign(mirrored) == np.sign(forwards)


def test_nearest_clip_by_mean_pixels_is_of_the_same_group(
    demo: tuple[Path, list[DemoClip]], frames: dict[str, np.ndarray]
) -> None:
    plan = demo[1]
    thumbnails = np.stack(
        [central_square(frames[clip.path])[:, :63, :63].reshape(-1, 7, 9, 7, 9, 3).mean((0, 2, 4)) for clip in plan]
    ).reshape(len(plan), -1)
    distance = np.linalg.norm(thumbnails[:, None] - thumbnails, axis=-1)
    np.fill_diagonal(distance, np.inf)
    sizes = Counter(clip.group for clip in plan)
    nearest = [
        plan[near].group == clip.group
        for clip, near in zip(plan, distance.argmin(axis=1), strict=True)
        if sizes[clip.group] > 1
    ]
    assert len(nearest) >= 20
    assert np.mean(nearest) > 0.9


def test_second_call_changes_nothing(demo: tuple[Path, list[DemoClip]], monkeypatch: pytest.MonkeyPatch) -> None:
    out, plan = demo
    before = snapshot(out)
    monkeypatch.setattr(writer, "ProcessPoolExecutor", None)  # starting a worker would fail
    assert write_demo(out, classes=ALL_CLASSES, clips_per_class=6, seed=4) == plan
    assert snapshot(out) == before


def test_missing_clips_are_written_again_byte_for_byte(small: Path) -> None:
    before = snapshot(small)
    videos = sorted(name for name in before if "/" in name)
    for name in videos[::2]:
        (small / name).unlink()
    write_demo(small, classes=2, clips_per_class=3, workers=1, progress=False)
    after = snapshot(small)
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }
    assert all(after[name] == before[name] for name in videos[1::2])


def test_files_have_the_default_permissions(written: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert {file.stat().st_mode for file in written.rglob("*") if file.is_file()} == {plain.stat().st_mode}


def test_second_call_completes_a_killed_one(tmp_path: Path, written: Path) -> None:
    out = tmp_path / "killed"
    call = f"write_demo(Path({str(out)!r}), classes=2, clips_per_class=3, workers=1, progress=False)"
    code = f"from pathlib import Path; from data.demo import write_demo; {call}"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 300
    while not list(out.glob("arm*/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()

    assert not (out / "demo.json").exists()
    write_demo(out, classes=2, clips_per_class=3, progress=False)
    assert {name: content for name, (_, content) in snapshot(out).items()} == {
        name: content for name, (_, content) in snapshot(written).items()
    }


def test_folder_with_other_files_raises_and_stays_unchanged(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(DataError) as error:
        write_demo(tmp_path, classes=2, clips_per_class=3)
    assert str(error.value) == f"'{tmp_path}' holds files that are not demo clips; give an empty or a new folder"
    assert os.listdir(tmp_path) == ["holiday.txt"]


def test_folder_of_other_parameters_raises_and_stays_unchanged(written: Path) -> None:
    before = snapshot(written)
    with pytest.raises(DataError) as error:
        write_demo(written, classes=2, clips_per_class=4)
    assert str(error.value) == (
        f"'{written}' holds demo clips generated with classes=2, clips_per_class=3, seed=0, generator=1, "
        "not classes=2, clips_per_class=4, seed=0, generator=1; delete it or give another folder"
    )
    assert snapshot(written) == before


def test_unreadable_parameters_raise(small: Path) -> None:
    (small / "demo.json").write_text("{")
    with pytest.raises(
        DataError, match="generated with unknown parameters, not classes=2, .*; delete it or give another"
    ):
        write_demo(small, classes=2, clips_per_class=3)


def test_parameters_are_written_to_demo_json(written: Path) -> None:
    assert json.loads((written / "demo.json").read_text()) == {
        "classes": 2,
        "clips_per_class": 3,
        "seed": 0,
        "generator": 1,
    }
    assert not list(written.glob(".*"))


def test_file_instead_of_a_folder_raises(tmp_path: Path) -> None:
    path = tmp_path / "clips"
    path.write_text("mine")
    with pytest.raises(DataError, match=r"can't write demo clips to '.*clips' \(Not a directory\); give another"):
        write_demo(path, classes=2, clips_per_class=3)
    assert path.read_text() == "mine"
