"""Building the frame store: what is decoded, what fails, and what interrupts a build."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import DataError
from data.store.build import StoreLocation, build_store
from data.store.build_report import BuildReport, FailedClip
from data.store.entry_file import StoreEntry
from data.store.entry_folder import EntryFolder
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tests.helpers.frame_stores import build, decode_in_process, wait_until_settled
from tests.helpers.video_files import moving_square, write_video

SETTINGS = DecodeSettings(frames=4, short_side=32)
PATHS = [f"squat/{number}.mp4" for number in range(5)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five clips and a file that is not a video."""
    root = tmp_path_factory.mktemp("clips")
    for number, path in enumerate(PATHS):
        write_video(root / path, moving_square(number))
    (root / "squat/broken.mp4").write_bytes(b"no video at all")
    return root


def test_only_new_clips_are_decoded(clips: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path, SETTINGS)
    first = store.build(clips, PATHS[:3], workers=2, progress=False)
    assert (first.decoded, first.failed, list(first.digests())) == (3, (), PATHS[:3])
    assert store.build(clips, PATHS[:3], workers=1, progress=False) == replace(first, decoded=0)
    assert store.build(clips, PATHS, workers=1, progress=False).decoded == 2


def test_changed_clip_is_decoded_again(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "store", SETTINGS)
    file = write_video(tmp_path / "clips/a.mp4", moving_square(1))
    before = build(store, file.parent, ["a.mp4"])
    write_video(file, moving_square(2))
    after = build(store, file.parent, ["a.mp4"])
    assert after.decoded == 1
    assert (store.read(after.digests()["a.mp4"]) != store.read(before.digests()["a.mp4"])).any()


def test_failed_clips_are_reported_with_reason(clips: Path, tmp_path: Path) -> None:
    report = build(FrameStore(tmp_path, SETTINGS), clips, [*PATHS, "squat/broken.mp4", "squat/gone.mp4"])
    assert [clip.path for clip in report.stored] == PATHS
    reasons = {clip.path: clip.reason for clip in report.failed}
    assert {clip.defect for clip in report.failed} == {"unreadable"}
    assert reasons["squat/broken.mp4"].startswith("FFmpeg can't read it")
    assert reasons["squat/gone.mp4"] == "it can't be read: No such file or directory"


def test_hanging_clip_fails_alone(tmp_path: Path) -> None:
    write_video(tmp_path / "clips/good.mp4", moving_square(0))
    os.mkfifo(tmp_path / "clips/hangs.mp4")  # Opening a pipe for reading waits for a writer, here forever.
    report = FrameStore(tmp_path / "store", SETTINGS).build(
        tmp_path / "clips", ["hangs.mp4", "good.mp4"], workers=1, seconds_per_clip=3, progress=False
    )
    assert [(clip.path, clip.reason) for clip in report.failed] == [("hangs.mp4", "decoding took more than 3 s")]
    assert [clip.path for clip in report.stored] == ["good.mp4"]


class _GrowingClip(EntryFolder):
    """Appends to a clip's file when its entry is looked up, as if the clip were still being copied."""

    def check(self, digest: str, known: StoreEntry | None, *, verify: bool) -> StoreEntry:
        with (self.folder.parent / "0.mp4").open("ab") as stream:
            stream.write(b"more")
        return super().check(digest, known, verify=verify)


def _build_in(backend: EntryFolder, clips: Path, settings: DecodeSettings = SETTINGS) -> BuildReport:
    location = StoreLocation(backend.folder, backend, settings, "")
    return build_store(location, clips, ["0.mp4"], decode_in_process, verify=True, rehash=False, progress=False)


def test_clip_that_changes_while_it_is_read_is_not_stored(tmp_path: Path) -> None:
    write_video(tmp_path / "0.mp4", moving_square(0))
    report = _build_in(_GrowingClip(tmp_path / "store"), tmp_path)
    assert report.failed == (FailedClip("0.mp4", "unreadable", "it changed while it was read"),)
    assert not list((tmp_path / "store").rglob("*.npy"))


def test_unexpected_error_fails_the_clip_alone(tmp_path: Path) -> None:
    write_video(tmp_path / "0.mp4", moving_square(0))
    invalid = replace(SETTINGS)
    object.__setattr__(invalid, "frames", -1)
    report = _build_in(EntryFolder(tmp_path / "store"), tmp_path, invalid)
    assert [clip.path for clip in report.failed] == ["0.mp4"]
    assert report.failed[0].reason.startswith("the decoder failed (")


def test_temporary_files_of_a_killed_build_are_removed(clips: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "store", SETTINGS)
    partial_entry = store.folder / "tmp" / "abcd.1234"
    partial_entry.parent.mkdir(parents=True)
    partial_entry.write_bytes(b"half")
    build(store, clips, PATHS[:1])
    assert not partial_entry.exists()


def test_folder_that_cannot_be_created_is_rejected(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"can't be written .*: set store\.dir"):
        build(FrameStore(tmp_path / "file" / "store", SETTINGS), clips, PATHS[:1])


FULL_DISK = """
import subprocess, sys
from pathlib import Path
from data.errors import DataError
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
if __name__ == "__main__":
    clips, disk = Path(sys.argv[1]), Path(sys.argv[2])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True)
    store = FrameStore(disk / "store", DecodeSettings(frames=16, short_side=32))
    known = store.build(clips, ["0.mp4"], workers=1, progress=False)
    try:
        store.build(clips, [f"{number}.mp4" for number in range(8)], workers=2, progress=False)
    except DataError as error:
        print(error)
    print([str(file) for file in disk.rglob("tmp/*")])
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError as error:
            print(error.strerror)
    again = store.build(clips, ["0.mp4"], workers=1, progress=False)
    print(again.decoded, again.stored == known.stored, store.read(again.stored[0].digest).shape)
    (disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    print(len(store.build(clips, [f"{number}.mp4" for number in range(8)], workers=2, progress=False).stored))
"""


def test_full_disk_ends_the_build_and_leaves_the_store_usable(tmp_path: Path) -> None:
    """On a file system of 256 KiB, mounted in a namespace of its own."""
    files = [write_video(tmp_path / f"clips/{number}.mp4", moving_square(number)) for number in range(8)]
    wait_until_settled(files)
    (tmp_path / "disk").mkdir()
    (tmp_path / "full.py").write_text(FULL_DISK)
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    done = subprocess.run(
        [*unshare, sys.executable, str(tmp_path / "full.py"), str(tmp_path / "clips"), str(tmp_path / "disk")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    message, temporary_files, filled, again, completed = done.stdout.splitlines()
    assert re.fullmatch(
        rf"the frame store {tmp_path}/disk/store/\w+ can't be written \(No space left on device\): \d clips are "
        r"left, each needs about 0\.07 MB, and 0\.\d\d MB are free; free disk space, set store\.dir to another disk, "
        r"or lower store\.frames or store\.short_side \(clips stored so far are not lost\)",
        message,
    )
    assert temporary_files == "[]"
    assert filled == "No space left on device"
    assert again == "0 True (16, 32, 43, 3)"
    assert completed == "8"


BUILD = """
import sys
from pathlib import Path
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
if __name__ == "__main__":
    clips, store, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    report = FrameStore(store, DecodeSettings(frames=4, short_side=32)).build(
        clips, [f"{n}.mp4" for n in range(count)], workers=1, progress=False)
    print(report.decoded, len(report.failed))
"""


def _start_build(script: Path, clips: Path, store: Path, count: int) -> subprocess.Popen[str]:
    script.write_text(BUILD)
    return subprocess.Popen(
        [sys.executable, str(script), str(clips), str(store), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        start_new_session=True,
    )


def _write_clips(root: Path, count: int) -> None:
    for number in range(count):
        write_video(root / f"{number}.mp4", moving_square(number, count=30, height=240, width=320))


def test_concurrent_builds_decode_each_clip_once(tmp_path: Path) -> None:
    _write_clips(tmp_path / "clips", 12)
    builders = [_start_build(tmp_path / f"{n}.py", tmp_path / "clips", tmp_path / "store", 12) for n in range(2)]
    # A waiting builder prints a note before its counts.
    counts = [builder.communicate(timeout=120)[0].splitlines()[-1] for builder in builders]
    assert sorted(counts) == ["0 0", "12 0"]


def test_killed_build_resumes(tmp_path: Path) -> None:
    _write_clips(tmp_path / "clips", 40)
    store = FrameStore(tmp_path / "store", SETTINGS)
    builder = _start_build(tmp_path / "build.py", tmp_path / "clips", store.root, 40)
    while len(list(store.folder.glob("*/*.npy"))) < 3:
        assert builder.poll() is None, "the build ended before it was killed"
        time.sleep(0.01)
    os.killpg(builder.pid, signal.SIGKILL)
    builder.wait()
    num_stored = len(list(store.folder.glob("*/*.npy")))
    assert 3 <= num_stored < 40
    report = store.build(tmp_path / "clips", [f"{n}.mp4" for n in range(40)], workers=2, progress=False)
    assert (report.decoded, len(report.failed)) == (40 - num_stored, 0)
    assert all(store.read(clip.digest).shape[0] == 4 for clip in report.stored)
