"""Copies of entries on a node's own disk."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.store.entry_folder import EntryFolder
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tests.helpers.frame_stores import build
from tests.helpers.video_files import moving_square, write_video

SETTINGS = DecodeSettings(frames=4, short_side=32)
PATHS = [f"{number}.mp4" for number in range(3)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Root and digests of a store that several nodes can access."""
    root = tmp_path_factory.mktemp("shared")
    for number, path in enumerate(PATHS):
        write_video(root / "clips" / path, moving_square(number))
    report = build(FrameStore(root / "store", SETTINGS), root / "clips", PATHS)
    return root / "store", [clip.digest for clip in report.stored]


def test_read_maps_the_copy_of_the_node(shared: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, digests = shared
    store = FrameStore(root, SETTINGS, local=tmp_path)
    for digest in digests:
        frames = store.read(digest)
        assert str(frames.filename).startswith(str(tmp_path))
        np.testing.assert_array_equal(frames, FrameStore(root, SETTINGS).read(digest))


def test_fetched_entries_are_read_without_the_root(tmp_path: Path, shared: tuple[Path, list[str]]) -> None:
    root, digests = shared
    sizes = sum(EntryFolder(FrameStore(root, SETTINGS).folder).size(digest) for digest in digests)
    store = FrameStore(root, SETTINGS, local=tmp_path / "local")
    assert store.fetch([*digests, *digests], progress=False) == sizes
    assert store.fetch(digests, progress=False) == 0
    without_root = FrameStore(tmp_path / "missing", SETTINGS, local=tmp_path / "local")
    assert [without_root.read(digest).shape for digest in digests] == [(4, 32, 43, 3)] * 3


def test_fetch_copies_nothing_without_a_local_folder(shared: tuple[Path, list[str]]) -> None:
    assert FrameStore(shared[0], SETTINGS).fetch(shared[1], progress=False) == 0


def test_corrupt_entry_is_not_copied(shared: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, digests = shared
    file = EntryFolder(FrameStore(root, SETTINGS).folder).file(digests[0])
    corrupt = EntryFolder(FrameStore(tmp_path / "origin", SETTINGS).folder).file(digests[0])
    corrupt.parent.mkdir(parents=True)
    corrupt.write_bytes(file.read_bytes()[:-20] + bytes(20))
    store = FrameStore(tmp_path / "origin", SETTINGS, local=tmp_path / "local")
    with pytest.raises(DataError, match=f"entry {digests[0]} in .* is corrupt .*: remove it and build the store again"):
        store.read(digests[0])
    assert not list((tmp_path / "local").rglob("*.npy"))


def test_missing_entry_and_unwritable_disk_are_reported(shared: tuple[Path, list[str]], tmp_path: Path) -> None:
    store = FrameStore(shared[0], SETTINGS, local=tmp_path)
    with pytest.raises(DataError, match="has no frames for digest abab.*: build the store again"):
        store.read("ab" * 32)
    (tmp_path / "file").touch()
    unwritable = FrameStore(shared[0], SETTINGS, local=tmp_path / "file")
    with pytest.raises(DataError, match=r"can't be copied from .* to .*/file/.* \(Not a directory\): free disk space"):
        unwritable.fetch(shared[1], progress=False)


def test_temporary_files_of_a_killed_copy_are_removed(shared: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, digests = shared
    store = FrameStore(root, SETTINGS, local=tmp_path)
    temporary = tmp_path / store.folder.name / "tmp"
    temporary.mkdir(parents=True)
    (temporary / f"{digests[0]}.killed").write_bytes(b"half")
    store.fetch(digests, progress=False)
    assert list(temporary.iterdir()) == []


def _fetch(
    store: FrameStore,
    digests: list[str],
    start: Barrier,
    copied: multiprocessing.Queue[int],
) -> None:
    start.wait()
    copied.put(store.fetch(digests, progress=False))


def test_concurrent_processes_copy_each_entry_once(shared: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, digests = shared
    store = FrameStore(root, SETTINGS, local=tmp_path)
    context = multiprocessing.get_context("spawn")
    copied, start = context.Queue(), context.Barrier(4)
    workers = [context.Process(target=_fetch, args=(store, digests, start, copied)) for _ in range(4)]
    for worker in workers:
        worker.start()
    total = sum(copied.get(timeout=100) for _ in workers)
    for worker in workers:
        worker.join()
    assert total == sum(os.path.getsize(file) for file in tmp_path.rglob("*.npy"))
    assert len(list(tmp_path.rglob("*.npy"))) == 3
