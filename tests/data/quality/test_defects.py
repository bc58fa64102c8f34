from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from data.clip import Clip
from data.dataset.clips import scan_clips
from data.errors import DataError
from data.quality.clip_defects import defects_of_file, defects_of_frames
from data.quality.defects import DEFECT_KINDS, find_defects
from data.quality.limits import Limits
from data.quality.motion import block_means, count_black_frames, largest_change, largest_shift
from data.quality.similarity import Signature, find_signatures
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings, decode_clip
from tests.helpers.video_files import moving_square, write_video

SETTINGS = DecodeSettings(frames=16, short_side=64)


def scene(seed: int, count: int = 25, height: int = 72, width: int = 96) -> list[np.ndarray]:
    """Return frames of a textured room, a different one for each seed, in which a bar swings."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 200, (6, 8, 3)).astype(np.uint8)
    room = np.kron(coarse, np.ones((height // 6, width // 8, 1), np.uint8))
    frames = []
    for step in range(count):
        frame = room.copy()
        left = int((np.sin(step / 4 + seed) + 1) / 2 * (width - 20))
        frame[height // 4 : height // 2, left : left + 20] = 240
        frames.append(frame)
    return frames


Built = tuple[tuple[Clip, ...], BuildReport, FrameStore, dict[str, Signature]]


def built(root: Path, settings: DecodeSettings = SETTINGS) -> Built:
    clips = scan_clips(root).clips
    store = FrameStore(root.parent / "store", settings)
    build = store.build(root, [clip.path for clip in clips], workers=2, progress=False)
    return clips, build, store, find_signatures(build, store)


def write_sound(file: Path) -> None:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for number in range(10):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 44100, number * 1024
            container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def write_cut(file: Path, frames: Sequence[np.ndarray], share: float) -> None:
    """Write the first `share` of the bytes of an mp4 that has its index at the start."""
    whole = write_video(file.with_name("whole.mp4"), frames, options={"g": "5"})
    with (
        av.open(str(whole)) as source,
        av.open(str(file), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole.unlink()
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Two classes with good clips, and at least one clip with each defect."""
    root = tmp_path_factory.mktemp("broken") / "clips"
    for number in range(4):
        write_video(root / "pull Up" / f"good-{number}.mp4", scene(number))
    write_video(root / "squat/good.mkv", scene(10))
    (root / "squat/empty.mp4").touch()
    (root / "squat/text.mp4").write_text("no video at all\n" * 20)
    write_sound(root / "squat/sound.mp4")
    write_cut(root / "squat/cut.mp4", scene(11), 0.7)
    write_video(root / "squat/picture.mp4", scene(12, count=1))
    write_video(root / "squat/still.mp4", scene(13, count=1) * 25, options={"crf": "36"})
    write_video(root / "squat/black.mp4", [np.zeros((72, 96, 3), np.uint8)] * 25)
    write_video(root / "squat/blink.mp4", scene(14, count=5))
    write_video(root / "squat/long.mp4", scene(15, count=130), fps=2)
    write_video(root / "squat/original.mp4", scene(16))
    shutil.copy(root / "squat/original.mp4", root / "squat/twin.mp4")
    smaller = [frame[::2, ::2] for frame in scene(17, height=144, width=192)]
    write_video(root / "squat/source.mp4", scene(17, height=144, width=192))
    write_video(root / "squat/z re-encoded.mkv", smaller, options={"crf": "32"})
    shutil.copy(root / "pull Up/good-0.mp4", root / "squat/copied.mp4")
    write_video(root / "squat/re-encoded copy.mp4", scene(1), options={"crf": "30"})
    return built(root)


EXPECTED = {
    ("squat/empty.mp4", "unreadable"): "the file is empty",
    ("squat/text.mp4", "unreadable"): "FFmpeg can't read it",
    ("squat/sound.mp4", "no video stream"): "it has no video stream",
    ("squat/cut.mp4", "truncated"): "frames decode",
    ("squat/picture.mp4", "one frame"): "it has a single frame",
    ("squat/still.mp4", "still"): "nothing moves in the 16 stored frames",
    ("squat/black.mp4", "black"): "16 of the 16 stored frames are black",
    ("squat/blink.mp4", "too short"): "it lasts 0.20 s, less than 0.5 s",
    ("squat/long.mp4", "too long"): "it lasts 65 s, more than 60 s",
    ("squat/twin.mp4", "duplicate"): "it has the same bytes as squat/original.mp4",
    ("squat/z re-encoded.mkv", "near-duplicate"): "it shows the same as squat/source.mp4 throughout",
    ("squat/copied.mp4", "duplicate"): "it has the same bytes as pull Up/good-0.mp4",
    ("squat/copied.mp4", "two labels"): "it is also in class 'pull Up', as pull Up/good-0.mp4",
    ("pull Up/good-0.mp4", "two labels"): "it is also in class 'squat', as squat/copied.mp4",
    ("squat/re-encoded copy.mp4", "near-duplicate"): "it shows the same as pull Up/good-1.mp4 throughout",
    ("squat/re-encoded copy.mp4", "two labels"): "it is also in class 'pull Up', as pull Up/good-1.mp4",
    ("pull Up/good-1.mp4", "two labels"): "it is also in class 'squat', as squat/re-encoded copy.mp4",
}


def test_find_defects_reports_each_defect_and_no_others(broken: Built) -> None:
    found = find_defects(*broken, Limits())
    assert {(defect.path, defect.name) for defect in found} == set(EXPECTED)
    assert len(found) == len(EXPECTED)
    assert found == sorted(found)
    for defect in found:
        assert EXPECTED[defect.path, defect.name] in defect.detail
    assert {defect.name for defect in found} == {kind.name for kind in DEFECT_KINDS}


def test_defects_of_copies_name_the_other_clip(broken: Built) -> None:
    others = {(defect.path, defect.name): defect.other for defect in find_defects(*broken, Limits()) if defect.other}
    assert set(others) == {key for key in EXPECTED if key[1] in ("duplicate", "near-duplicate", "two labels")}
    assert others["squat/copied.mp4", "two labels"] == "pull Up/good-0.mp4"
    assert others["pull Up/good-0.mp4", "two labels"] == "squat/copied.mp4"


def test_find_defects_checks_only_the_given_clips_in_any_order(broken: Built) -> None:
    clips, *stored = broken
    assert find_defects(clips[::-1], *stored, Limits()) == find_defects(clips, *stored, Limits())
    alone = [clip for clip in clips if clip.label == "pull Up"]
    assert find_defects(alone, *stored, Limits()) == []


def test_clean_clips_have_no_defects(demo_clips: Path, tmp_path: Path) -> None:
    clips = scan_clips(demo_clips).clips
    store = FrameStore(tmp_path, DecodeSettings())
    build = store.build(demo_clips, [clip.path for clip in clips], progress=False)
    assert find_defects(clips, build, store, find_signatures(build, store), Limits()) == []


def test_clip_sampled_by_seeking_is_not_one_frame(broken: Built) -> None:
    facts = next(clip.facts for clip in broken[1].stored if clip.path == "squat/picture.mp4")
    assert "one frame" in dict(defects_of_file(facts, Limits()))
    sought = replace(facts, packets=9000, duration=50.0, sought=True)
    assert list(defects_of_file(sought, Limits())) == []


def test_limits_define_too_short_and_too_long(broken: Built) -> None:
    loose = {(d.path, d.name) for d in find_defects(*broken, Limits(min_seconds=0.1, max_seconds=100))}
    assert {"too short", "too long"}.isdisjoint(name for _, name in loose)
    strict = {(d.path, d.name) for d in find_defects(*broken, Limits(min_seconds=2, max_seconds=50))}
    assert ("pull Up/good-0.mp4", "too short") in strict
    assert ("squat/long.mp4", "too long") in strict


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_seconds": -1}, "min_seconds is -1; give a number of 0 or more"),
        ({"max_seconds": float("nan")}, "max_seconds is nan; give a number of 0 or more"),
        ({"min_seconds": 9, "max_seconds": 8}, "at least 9 s and at most 8 s"),
        ({"black_level": 255}, "must be below 255"),
        ({"still_levels": 300}, "must be below 255"),
        ({"black_share": 0}, "black_share is 0; give a number above 0 and at most 1"),
    ],
)
def test_limits_out_of_range_raise(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(Limits(), **wrong)


def frame_defects(file: Path) -> list[str]:
    """Return the names of the defects that the stored frames of a clip show."""
    frames = decode_clip(file, DecodeSettings()).frames
    return [name for name, _ in defects_of_frames(frames, Limits())]


def photograph(demo_clips: Path) -> np.ndarray:
    """Return a detailed picture: a frame of a generated clip, uint8 `(H, W, 3)` with even sides."""
    with av.open(str(sorted(demo_clips.rglob("*.mp4"))[0])) as container:
        return next(iter(container.decode(video=0))).to_ndarray(format="rgb24")


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {}),
        ("libx264", {"crf": "40"}),
        ("libx264", {"crf": "38", "g": "5"}),
        ("mpeg4", {"qmin": "20", "qmax": "31", "g": "12"}),
        ("libvpx-vp9", {"crf": "50", "b": "0", "cpu-used": "8"}),
    ],
)
def test_still_is_detected_in_compressed_video(
    demo_clips: Path, tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    frames = [photograph(demo_clips)] * 50
    assert frame_defects(write_video(tmp_path / "clip.mkv", frames, codec=codec, options=options)) == ["still"]


def test_still_is_detected_in_grainy_video(demo_clips: Path, tmp_path: Path) -> None:
    picture, rng = photograph(demo_clips), np.random.default_rng(0)
    grainy = [np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8) for _ in range(50)]
    assert frame_defects(write_video(tmp_path / "clip.mp4", grainy)) == ["still"]


def breathing(picture: np.ndarray, pixels: float, count: int = 50) -> list[np.ndarray]:
    """Return frames in which the middle of a picture moves up and down by up to `pixels`, like a trunk in a plank."""
    height, width, _ = picture.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    bump = np.exp(-(((rows / height - 0.55) / 0.2) ** 2) - ((columns / width - 0.5) / 0.25) ** 2)
    frames = []
    for step in range(count):
        at = np.clip(rows - pixels * np.sin(step / 8) * bump, 0, height - 1.001)
        above, part = at.astype(int), (at % 1)[..., None]
        across = columns.astype(int)
        moved = picture[above, across] * (1 - part) + picture[above + 1, across] * part
        frames.append(moved.round().astype(np.uint8))
    return frames


def test_breathing_is_not_still(demo_clips: Path, tmp_path: Path) -> None:
    frames = breathing(photograph(demo_clips), 0.5)
    assert frame_defects(write_video(tmp_path / "clip.mp4", frames, options={"crf": "30"})) == []


def test_fade_in_is_not_black(tmp_path: Path) -> None:
    frames = [(frame * min(1, step / 12)).astype(np.uint8) for step, frame in enumerate(scene(3, count=40))]
    assert frame_defects(write_video(tmp_path / "clip.mp4", frames)) == []


def test_largest_shift_measures_parts_of_a_pixel(demo_clips: Path) -> None:
    picture = photograph(demo_clips)
    shifts = [largest_shift(np.stack(breathing(picture, pixels))) for pixels in (0, 0.2, 0.4, 0.8)]
    assert shifts[0] < 1e-6
    # Less than 0.7, the root mean square of a sine, because only a part of each window moves.
    for shift, pixels in zip(shifts[1:], (0.2, 0.4, 0.8), strict=True):
        assert 0.15 * pixels < shift < 0.75 * pixels


def test_wide_movement_in_the_dark_exceeds_the_still_limit() -> None:
    dim = np.stack([frame // 8 for frame in moving_square(0)])
    assert largest_change(block_means(dim)) > Limits().still_levels
    flat = np.full((8, 48, 64, 3), 77, np.uint8)
    assert largest_change(block_means(flat)) == largest_shift(flat) == 0


def test_frame_with_a_small_logo_is_black_and_a_blue_one_is_not() -> None:
    frames = np.zeros((3, 128, 176, 3), np.uint8)
    frames[0, 8:16, 4:28] = 255
    frames[1, :, :, 2] = 60
    frames[2] = 16
    assert count_black_frames(block_means(frames), Limits().black_level) == 2


def test_single_stored_frame_has_no_defects() -> None:
    assert list(defects_of_frames(np.stack(scene(0, count=1)), Limits())) == []


def test_picture_smaller_than_a_block_can_be_still() -> None:
    assert [name for name, _ in defects_of_frames(np.full((4, 1, 9, 3), 90, np.uint8), Limits())] == ["still"]
