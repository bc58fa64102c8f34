from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.cache import FrameStore
from data.decode import DecodeSettings, decode_clip
from data.errors import DataError
from tests.video_files import moving_square, write_video

SETTINGS = DecodeSettings(frames=4, short_side=32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for number in range(5):
        write_video(root / "squat" / f"{number}.mp4", moving_square(number))
    (root / "squat" / "broken.mp4").write_bytes(b"no video at all")
    return root


PATHS = [f"squat/{number}.mp4" for number in range(5)]


def test_frames_are_as_decoded_and_mapped(clips: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path, SETTINGS)
    report = store.build(clips, PATHS, workers=2, progress=False)
    assert (report.decoded, report.failed) == (5, ())
    frames = store.read(report.digests()["squat/3.mp4"])
    assert isinstance(frames, np.memmap)
    assert not frames.flags.writeable
    np.testing.assert_array_equal(frames, decode_clip(clips / "squat/3.mp4", SETTINGS).frames)


def test_a_second_build_decodes_nothing_and_a_new_clip_alone(clips: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path, SETTINGS)
    store.build(clips, PATHS[:3], workers=1, progress=False)
    assert store.build(clips, PATHS[:3], workers=1, progress=False).decoded == 0
    assert store.build(clips, PATHS, workers=1, progress=False).decoded == 2


def test_a_changed_clip_is_decoded_anew(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "store", SETTINGS)
    file = write_video(tmp_path / "clips/a.mp4", moving_square(1))
    before = store.build(file.parent, ["a.mp4"], workers=1, progress=False)
    write_video(file, moving_square(2))
    after = store.build(file.parent, ["a.mp4"], workers=1, progress=False)
    assert after.decoded == 1
    assert (store.read(after.digests()["a.mp4"]) != store.read(before.digests()["a.mp4"])).any()


@pytest.mark.parametrize("other", [replace(SETTINGS, frames=6), replace(SETTINGS, short_side=24)])
def test_each_decode_setting_is_part_of_the_key(clips: Path, tmp_path: Path, other: DecodeSettings) -> None:
    FrameStore(tmp_path, SETTINGS).build(clips, PATHS[:1], workers=1, progress=False)
    report = FrameStore(tmp_path, other).build(clips, PATHS[:1], workers=1, progress=False)
    assert report.decoded == 1
    frames = FrameStore(tmp_path, other).read(report.stored[0].digest)
    assert frames.shape[:2] == (other.frames, other.short_side)


def test_failed_clips_are_named_with_their_reason(clips: Path, tmp_path: Path) -> None:
    report = FrameStore(tmp_path, SETTINGS).build(
        clips, [*PATHS, "squat/broken.mp4", "squat/gone.mp4"], workers=2, progress=False
    )
    assert [clip.path for clip in report.stored] == PATHS
    reasons = {clip.path: clip.reason for clip in report.failed}
    assert {clip.defect for clip in report.failed} == {"unreadable"}
    assert reasons["squat/broken.mp4"].startswith("FFmpeg can't read it")
    assert reasons["squat/gone.mp4"] == "it can't be read: No such file or directory"


def test_a_clip_that_hangs_costs_that_clip_alone(tmp_path: Path) -> None:
    write_video(tmp_path / "clips/good.mp4", moving_square(0))
    os.mkfifo(tmp_path / "clips/hangs.mp4")  # Whoever reads a pipe waits for a writer, here for ever.
    report = FrameStore(tmp_path / "store", SETTINGS).build(
        tmp_path / "clips", ["hangs.mp4", "good.mp4"], workers=1, seconds_per_clip=3, progress=False
    )
    assert [(clip.path, clip.reason) for clip in report.failed] == [("hangs.mp4", "decoding took more than 3 s")]
    assert [clip.path for clip in report.stored] == ["good.mp4"]


def test_no_frames_for_an_unknown_digest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no frames for digest abc"):
        FrameStore(tmp_path, SETTINGS).read("abc")


def test_a_store_that_cannot_be_made_is_refused(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"can't be written .*: set store\.dir"):
        FrameStore(tmp_path / "file" / "store", SETTINGS).build(clips, PATHS[:1], workers=1, progress=False)


BUILD = """
import sys
from pathlib import Path
from data.cache import FrameStore
from data.decode import DecodeSettings
if __name__ == "__main__":
    clips, store, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    report = FrameStore(store, DecodeSettings(frames=4, short_side=32)).build(
        clips, [f"{n}.mp4" for n in range(count)], workers=1, progress=False)
    print(report.decoded, len(report.failed))
"""


def _builder(script: Path, clips: Path, store: Path, count: int) -> subprocess.Popen[str]:
    script.write_text(BUILD)
    return subprocess.Popen(
        [sys.executable, str(script), str(clips), str(store), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        start_new_session=True,
    )


def _many_clips(root: Path, count: int) -> None:
    for number in range(count):
        write_video(root / f"{number}.mp4", moving_square(number, count=30, height=240, width=320))


def test_two_builds_at_once_decode_each_clip_once(tmp_path: Path) -> None:
    _many_clips(tmp_path / "clips", 12)
    builders = [_builder(tmp_path / f"{n}.py", tmp_path / "clips", tmp_path / "store", 12) for n in range(2)]
    # A waiting builder says so on standard output, before its counts.
    counts = [builder.communicate(timeout=120)[0].splitlines()[-1] for builder in builders]
    assert sorted(counts) == ["0 0", "12 0"]


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    _many_clips(tmp_path / "clips", 40)
    store = FrameStore(tmp_path / "store", SETTINGS)
    builder = _builder(tmp_path / "build.py", tmp_path / "clips", store.root, 40)
    deadline = time.monotonic() + 60
    while len(list(store.folder.glob("*/*.npy"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(builder.pid, signal.SIGKILL)
    builder.wait()
    there = len(list(store.folder.glob("*/*.npy")))
    assert 3 <= there < 40
    report = store.build(tmp_path / "clips", [f"{n}.mp4" for n in range(40)], workers=2, progress=False)
    assert (report.decoded, len(report.failed)) == (40 - there, 0)
    assert all(store.read(clip.digest).shape[0] == 4 for clip in report.stored)


def _shared_pages(store: FrameStore, digests: list[str], ready: multiprocessing.Queue[int], end: object) -> None:
    frames = [store.read(digest) for digest in digests]
    ready.put(sum(int(array.sum()) for array in frames))
    end.wait()  # type: ignore[attr-defined]


def test_workers_share_the_pages_of_the_store(tmp_path: Path) -> None:
    """Two processes that map the same clips hold them once: no private copy beside the shared pages."""
    write_video(tmp_path / "clips/0.mp4", moving_square(0, count=30, height=480, width=640))
    store = FrameStore(tmp_path / "store", DecodeSettings(frames=32, short_side=480))
    digest = store.build(tmp_path / "clips", ["0.mp4"], workers=1, progress=False).stored[0].digest
    size = store.read(digest).nbytes
    context = multiprocessing.get_context("spawn")
    ready, end = context.Queue(), context.Event()
    workers = [context.Process(target=_shared_pages, args=(store, [digest], ready, end)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert ready.get(timeout=60) == ready.get(timeout=60)
    rollups = [Path(f"/proc/{worker.pid}/smaps").read_text() for worker in workers]
    end.set()
    for worker in workers:
        worker.join()
    for smaps in rollups:
        block = smaps.split(f"{digest}.npy", 1)[1]
        kilobytes = {key: int(value) for key, value in _smaps_fields(block)}
        assert kilobytes["Rss"] * 1024 > 0.9 * size
        assert kilobytes["Private_Clean"] + kilobytes["Private_Dirty"] == 0


def _smaps_fields(block: str) -> list[tuple[str, str]]:
    fields = []
    for line in block.splitlines()[1:]:
        if not line.endswith("kB"):
            break
        key, value, _ = line.split()
        fields.append((key.rstrip(":"), value))
    return fields
