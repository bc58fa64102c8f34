from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.store.build import StoreLocation, build_store, decode_locally
from data.store.build_report import FailedClip
from data.store.entries import Entry, EntryFolder
from data.store.frame_store import FrameStore
from data.store.index import INDEX, FileState
from data.video.decode import DecodeSettings, decode_clip
from tests.helpers.video_files import moving_square, write_video

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


@pytest.fixture
def own_clips(tmp_path: Path) -> Path:
    """Three clips and a broken one, last written long enough ago for a change to show."""
    for number in range(3):
        write_video(tmp_path / f"clips/{number}.mp4", moving_square(number))
    (tmp_path / "clips/broken.mp4").write_bytes(b"no video at all")
    time.sleep(0.15)
    return tmp_path / "clips"


OWN = ["0.mp4", "1.mp4", "2.mp4", "broken.mp4"]


class Opened:
    """The names of the files of a folder that any process opens, as the kernel reports them."""

    IN_OPEN, IN_NONBLOCK = 0x20, 0o4000

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(self.IN_NONBLOCK)
        assert self._descriptor >= 0
        assert libc.inotify_add_watch(self._descriptor, bytes(folder), self.IN_OPEN) >= 0

    def names(self) -> set[str]:
        """Since the last call."""
        names, events = set(), b""
        with contextlib.suppress(BlockingIOError):
            events = os.read(self._descriptor, 1 << 20)
        while events:
            length = struct.unpack_from("IIII", memoryview(events)[0:16])[3]
            names.add(events[16 : 16 + length].rstrip(b"\0").decode())
            events = events[16 + length :]
        return names


def test_unchanged_files_are_not_opened_again(own_clips: Path, tmp_path: Path) -> None:
    store, opened = FrameStore(tmp_path / "store", SETTINGS), Opened(own_clips)
    first = store.build(own_clips, OWN, workers=1, progress=False)
    assert opened.names() == set(OWN)
    second = store.build(own_clips, OWN, workers=1, progress=False)
    assert opened.names() == set()
    assert second == replace(first, decoded=0)
    assert store.build(own_clips, OWN, workers=1, rehash=True, progress=False) == second
    assert opened.names() == set(OWN)


def test_a_file_just_written_is_hashed_again(tmp_path: Path) -> None:
    """Its next change might come within the same tick of the file system's clock."""
    file, store = tmp_path / "clips/a.mp4", FrameStore(tmp_path / "store", SETTINGS)
    write_video(file, moving_square(0))
    assert not FileState.of(file).settled
    assert store.build(file.parent, ["a.mp4"], workers=1, progress=False).decoded == 1
    assert store.build(file.parent, ["a.mp4"], workers=1, progress=False).decoded == 0


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by another file"])
def test_a_change_that_keeps_size_and_time_is_noticed(own_clips: Path, tmp_path: Path, in_place: bool) -> None:
    store, file = FrameStore(tmp_path / "store", SETTINGS), own_clips / "0.mp4"
    before, was = store.build(own_clips, OWN, workers=1, progress=False), file.stat()
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    other = file if in_place else own_clips / "other"
    other.write_bytes(changed)
    other.replace(file)
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    now = file.stat()
    assert (now.st_size, now.st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    after = store.build(own_clips, OWN, workers=1, progress=False)
    assert [path for path in before.digests() if before.digests()[path] != after.digests()[path]] == ["0.mp4"]
    assert after.decoded == 1


def test_a_removed_clip_is_noticed(own_clips: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "store", SETTINGS)
    store.build(own_clips, OWN, workers=1, progress=False)
    (own_clips / "1.mp4").unlink()
    report = store.build(own_clips, OWN, workers=1, progress=False)
    assert list(report.digests()) == ["0.mp4", "2.mp4"]
    assert FailedClip("1.mp4", "unreadable", "it can't be read: No such file or directory") in report.failed


class _Meddling(EntryFolder):
    """While a clip is looked up, its file grows, as if it were still being copied."""

    def check(self, digest: str, known: Entry | None, *, whole: bool) -> Entry:
        with (self.folder.parent / "clips/0.mp4").open("ab") as stream:
            stream.write(b"more")
        return super().check(digest, known, whole=whole)


def test_a_clip_that_changes_while_it_is_read_is_not_stored(own_clips: Path, tmp_path: Path) -> None:
    shelf = _Meddling(tmp_path / "store")
    place = StoreLocation(shelf.folder, shelf, SETTINGS, "")
    decode = partial(decode_locally, workers=1, seconds=60)
    report = build_store(place, own_clips, ["0.mp4"], decode, verify=True, rehash=False, progress=False)
    assert report.failed == (FailedClip("0.mp4", "unreadable", "it changed while it was read"),)
    assert not list(shelf.folder.rglob("*.npy"))


def test_an_error_that_nobody_foresaw_costs_its_clip(own_clips: Path, tmp_path: Path) -> None:
    folder = EntryFolder(tmp_path / "store")
    place = StoreLocation(folder.folder, folder, replace(SETTINGS), "")
    object.__setattr__(place.settings, "frames", -1)
    decode = partial(decode_locally, workers=1, seconds=60)
    report = build_store(place, own_clips, OWN, decode, verify=True, rehash=False, progress=False)
    assert [clip.path for clip in report.failed] == OWN
    assert report.failed[0].reason.startswith("the decoder failed (")


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _swap(file: Path) -> None:
    other = next(entry for entry in file.parent.parent.glob("*/*.npy") if entry != file)
    file.write_bytes(other.read_bytes())


@pytest.mark.parametrize("damage", [_cut, _flip_a_bit, _swap])
def test_a_damaged_entry_alone_is_decoded_anew(own_clips: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = FrameStore(tmp_path / "store", SETTINGS)
    first = store.build(own_clips, OWN, workers=1, progress=False)
    frames = store.read(first.digests()["1.mp4"]).copy()
    damage(EntryFolder(store.folder).file(first.digests()["1.mp4"]))
    second = store.build(own_clips, OWN, workers=1, progress=False)
    assert second == replace(first, decoded=1, repaired=("1.mp4",))
    np.testing.assert_array_equal(store.read(second.digests()["1.mp4"]), frames)


def test_without_checksums_the_sizes_are_still_compared(own_clips: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "store", SETTINGS)
    first = store.build(own_clips, OWN, workers=1, progress=False)
    _flip_a_bit(EntryFolder(store.folder).file(first.digests()["0.mp4"]))
    _cut(EntryFolder(store.folder).file(first.digests()["1.mp4"]))
    assert store.build(own_clips, OWN, workers=1, verify=False, progress=False).repaired == ("1.mp4",)
    assert store.build(own_clips, OWN, workers=1, progress=False).repaired == ("0.mp4",)


def test_reading_a_damaged_entry_names_it(own_clips: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "store", SETTINGS)
    digest = store.build(own_clips, OWN, workers=1, progress=False).digests()["0.mp4"]
    _cut(EntryFolder(store.folder).file(digest))
    with pytest.raises(DataError, match=f"entry .*{digest}.npy is damaged .*: build the store again") as raised:
        store.read(digest)
    assert "\n" not in str(raised.value)


def _lose(index: Path) -> None:
    index.unlink()


def _overwrite(index: Path) -> None:
    index.write_bytes(b"no database at all" * 100)


def _zero_tables(index: Path) -> None:
    content = index.read_bytes()
    index.write_bytes(content[:4096] + bytes(len(content) - 4096))


@pytest.mark.parametrize("damage", [_lose, _overwrite, _zero_tables])
def test_the_index_is_rebuilt_from_entries_without_decoding(
    own_clips: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    store, opened = FrameStore(tmp_path / "store", SETTINGS), Opened(own_clips)
    first = store.build(own_clips, OWN, workers=1, progress=False)
    damage(store.folder / INDEX)
    opened.names()
    assert store.build(own_clips, OWN, workers=1, progress=False) == replace(first, decoded=0)
    assert opened.names() == set(OWN)
    assert store.build(own_clips, OWN, workers=1, progress=False) == replace(first, decoded=0)
    assert opened.names() == set()


def test_what_a_killed_build_left_half_written_is_removed(own_clips: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "store", SETTINGS)
    half = store.folder / "tmp" / "abcd.1234"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    store.build(own_clips, OWN[:1], workers=1, progress=False)
    assert not half.exists()


FULL_DISK = """
import subprocess, sys
from pathlib import Path
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from data.errors import DataError
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


def test_a_full_disk_ends_the_build_and_leaves_the_store_usable(tmp_path: Path) -> None:
    """On a file system of 256 KiB, mounted where nobody else sees it."""
    for number in range(8):
        write_video(tmp_path / f"clips/{number}.mp4", moving_square(number))
    time.sleep(0.15)
    (tmp_path / "disk").mkdir()
    (tmp_path / "full.py").write_text(FULL_DISK)
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    done = subprocess.run(
        [*alone, sys.executable, str(tmp_path / "full.py"), str(tmp_path / "clips"), str(tmp_path / "disk")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    message, half_written, filled, again, mended = done.stdout.splitlines()
    assert re.fullmatch(
        rf"the frame store {tmp_path}/disk/store/\w+ can't take another clip \(No space left on device\): \d clips are "
        r"left, each needs about 0\.07 MB, and 0\.\d\d MB are free; make room, set store\.dir to another disk, or "
        r"lower store\.frames or store\.short_side \(clips stored so far are kept\)",
        message,
    )
    assert half_written == "[]"
    assert filled == "No space left on device"
    assert again == "0 True (16, 32, 43, 3)"
    assert mended == "8"


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
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
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
