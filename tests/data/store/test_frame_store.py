"""Reading from the frame store, and the key of its settings."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.store.entry_folder import EntryFolder
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings, decode_clip
from tests.helpers.frame_stores import build
from tests.helpers.video_files import moving_square, write_video

SETTINGS = DecodeSettings(frames=4, short_side=32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "squat" / "a.mp4", moving_square(0))


def test_read_maps_the_decoded_frames(clip: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path, SETTINGS)
    frames = store.read(build(store, clip.parent, [clip.name]).digests()[clip.name])
    assert isinstance(frames, np.memmap)
    assert not frames.flags.writeable
    np.testing.assert_array_equal(frames, decode_clip(clip, SETTINGS).frames)


@pytest.mark.parametrize("other", [replace(SETTINGS, frames=6), replace(SETTINGS, short_side=24)])
def test_each_decode_setting_is_part_of_the_key(clip: Path, tmp_path: Path, other: DecodeSettings) -> None:
    build(FrameStore(tmp_path, SETTINGS), clip.parent, [clip.name])
    report = build(FrameStore(tmp_path, other), clip.parent, [clip.name])
    assert report.decoded == 1
    frames = FrameStore(tmp_path, other).read(report.stored[0].digest)
    assert frames.shape[:2] == (other.frames, other.short_side)


def test_unknown_digest_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no frames for digest abc"):
        FrameStore(tmp_path, SETTINGS).read("abc")


def test_corrupt_entry_is_rejected_in_one_line(clip: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "store", SETTINGS)
    digest = build(store, clip.parent, [clip.name]).stored[0].digest
    file = EntryFolder(store.folder).file(digest)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(DataError, match=f"entry .*{digest}.npy is corrupt .*: build the store again") as raised:
        store.read(digest)
    assert "\n" not in str(raised.value)


def _map_frames(store: FrameStore, digest: str, sums: multiprocessing.Queue[int], end: Event) -> None:
    frames = store.read(digest)
    sums.put(int(frames.sum()))
    end.wait()


def test_processes_share_the_pages_of_an_entry(tmp_path: Path) -> None:
    """Two processes that map the same clip have it in memory once: no private copy next to the shared pages."""
    write_video(tmp_path / "clips/0.mp4", moving_square(0, count=30, height=240, width=320))
    store = FrameStore(tmp_path / "store", DecodeSettings(frames=32, short_side=240))
    digest = build(store, tmp_path / "clips", ["0.mp4"]).stored[0].digest
    size = store.read(digest).nbytes
    context = multiprocessing.get_context("spawn")
    sums, end = context.Queue(), context.Event()
    workers = [context.Process(target=_map_frames, args=(store, digest, sums, end)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert sums.get(timeout=100) == sums.get(timeout=100)
    rollups = [Path(f"/proc/{worker.pid}/smaps").read_text() for worker in workers]
    end.set()
    for worker in workers:
        worker.join()
    for smaps in rollups:
        kilobytes = _memory_fields(smaps.split(f"{digest}.npy", 1)[1])
        assert kilobytes["Rss"] * 1024 > 0.9 * size
        assert kilobytes["Private_Clean"] + kilobytes["Private_Dirty"] == 0


def _memory_fields(block: str) -> dict[str, int]:
    """Return the sizes in KiB of one mapping in an smaps file."""
    fields = {}
    for line in block.splitlines()[1:]:
        if not line.endswith("kB"):
            break
        key, value, _ = line.split()
        fields[key.rstrip(":")] = int(value)
    return fields
