"""The index of a store: unchanged files are not read again, changes and corrupt entries are noticed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.store.build_report import FailedClip
from data.store.entry_folder import EntryFolder
from data.store.frame_store import FrameStore
from data.store.index import INDEX, FileState
from data.video.decode import DecodeSettings
from tests.helpers.frame_stores import build, wait_until_settled
from tests.helpers.video_files import moving_square, write_video

PATHS = ["0.mp4", "1.mp4", "2.mp4", "broken.mp4"]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of three clips and a file that is not a video."""
    for number in range(3):
        write_video(tmp_path / f"clips/{number}.mp4", moving_square(number))
    (tmp_path / "clips/broken.mp4").write_bytes(b"no video at all")
    wait_until_settled((tmp_path / "clips").iterdir())
    return tmp_path / "clips"


@pytest.fixture
def store(tmp_path: Path) -> FrameStore:
    return FrameStore(tmp_path / "store", DecodeSettings(frames=4, short_side=32))


class OpenedFiles:
    """Names of the files in a folder that any process opens, as reported by the kernel (inotify)."""

    IN_OPEN, IN_NONBLOCK = 0x20, 0o4000

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(self.IN_NONBLOCK)
        assert self._descriptor >= 0
        assert libc.inotify_add_watch(self._descriptor, bytes(folder), self.IN_OPEN) >= 0

    def names(self) -> set[str]:
        """Return the names since the last call."""
        names, events = set(), b""
        with contextlib.suppress(BlockingIOError):
            events = os.read(self._descriptor, 1 << 20)
        while events:
            length = struct.unpack_from("IIII", memoryview(events)[0:16])[3]
            names.add(events[16 : 16 + length].rstrip(b"\0").decode())
            events = events[16 + length :]
        return names


def test_unchanged_files_are_not_opened_again(clips: Path, store: FrameStore) -> None:
    opened = OpenedFiles(clips)
    first = store.build(clips, PATHS, workers=1, progress=False)
    assert opened.names() == set(PATHS)
    second = store.build(clips, PATHS, workers=1, progress=False)
    assert opened.names() == set()
    assert second == replace(first, decoded=0)
    assert store.build(clips, PATHS, workers=1, rehash=True, progress=False) == second
    assert opened.names() == set(PATHS)


def test_file_just_written_is_hashed_again(tmp_path: Path, store: FrameStore) -> None:
    """Its next change could come within the same step of the file system's clock."""
    file = write_video(tmp_path / "clips/a.mp4", moving_square(0))
    soon = time.time() + 3600  # However long the test takes, the file looks as if it were just written.
    os.utime(file, (soon, soon))
    opened = OpenedFiles(file.parent)
    assert not FileState.of(file).settled
    assert build(store, file.parent, ["a.mp4"]).decoded == 1
    assert opened.names() == {"a.mp4"}
    assert build(store, file.parent, ["a.mp4"]).decoded == 0
    assert opened.names() == {"a.mp4"}


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by another file"])
def test_change_that_keeps_size_and_time_is_noticed(clips: Path, store: FrameStore, in_place: bool) -> None:
    file = clips / "0.mp4"
    before, old = build(store, clips, PATHS), file.stat()
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    other = file if in_place else clips / "other"
    other.write_bytes(changed)
    other.replace(file)
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    new = file.stat()
    assert (new.st_size, new.st_mtime_ns) == (old.st_size, old.st_mtime_ns)
    after = build(store, clips, PATHS)
    assert [path for path in before.digests() if before.digests()[path] != after.digests()[path]] == ["0.mp4"]
    assert after.decoded == 1


def test_removed_clip_is_noticed(clips: Path, store: FrameStore) -> None:
    build(store, clips, PATHS)
    (clips / "1.mp4").unlink()
    report = build(store, clips, PATHS)
    assert list(report.digests()) == ["0.mp4", "2.mp4"]
    assert FailedClip("1.mp4", "unreadable", "it can't be read: No such file or directory") in report.failed


def _truncate_entry(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _flip_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _replace_by_another_entry(file: Path) -> None:
    other = next(entry for entry in file.parent.parent.glob("*/*.npy") if entry != file)
    file.write_bytes(other.read_bytes())


@pytest.mark.parametrize("corrupt", [_truncate_entry, _flip_bit, _replace_by_another_entry])
def test_only_the_clip_of_a_corrupt_entry_is_decoded_again(
    clips: Path, store: FrameStore, corrupt: Callable[[Path], None]
) -> None:
    first = build(store, clips, PATHS)
    frames = store.read(first.digests()["1.mp4"]).copy()
    corrupt(EntryFolder(store.folder).file(first.digests()["1.mp4"]))
    second = build(store, clips, PATHS)
    assert second == replace(first, decoded=1, repaired=("1.mp4",))
    np.testing.assert_array_equal(store.read(second.digests()["1.mp4"]), frames)


def test_sizes_are_compared_without_verification(clips: Path, store: FrameStore) -> None:
    first = build(store, clips, PATHS)
    _flip_bit(EntryFolder(store.folder).file(first.digests()["0.mp4"]))
    _truncate_entry(EntryFolder(store.folder).file(first.digests()["1.mp4"]))
    assert build(store, clips, PATHS, verify=False).repaired == ("1.mp4",)
    assert build(store, clips, PATHS).repaired == ("0.mp4",)


def _remove(index: Path) -> None:
    index.unlink()


def _overwrite(index: Path) -> None:
    index.write_bytes(b"no database at all" * 100)


def _zero_tables(index: Path) -> None:
    content = index.read_bytes()
    index.write_bytes(content[:4096] + bytes(len(content) - 4096))


@pytest.mark.parametrize("corrupt", [_remove, _overwrite, _zero_tables])
def test_index_is_rebuilt_from_entries_without_decoding(
    clips: Path, store: FrameStore, corrupt: Callable[[Path], None]
) -> None:
    opened = OpenedFiles(clips)
    first = build(store, clips, PATHS)
    corrupt(store.folder / INDEX)
    opened.names()
    assert build(store, clips, PATHS) == replace(first, decoded=0)
    assert opened.names() == set(PATHS)
    assert build(store, clips, PATHS) == replace(first, decoded=0)
    assert opened.names() == set()
