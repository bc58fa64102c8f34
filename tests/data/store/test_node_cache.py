from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.store.entries import EntryFolder
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tests.helpers.video_files import moving_square, write_video

SETTINGS = DecodeSettings(frames=4, short_side=32)
PATHS = [f"{number}.mp4" for number in range(3)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The root of a store that several nodes reach, and its digests."""
    root = tmp_path_factory.mktemp("shared")
    for number, path in enumerate(PATHS):
        write_video(root / "clips" / path, moving_square(number))
    report = FrameStore(root / "store", SETTINGS).build(root / "clips", PATHS, workers=1, progress=False)
    return root / "store", [clip.digest for clip in report.stored]


def test_a_node_maps_its_own_copy(shared: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, digests = shared
    store = FrameStore(root, SETTINGS, local=tmp_path)
    for digest in digests:
        frames = store.read(digest)
        assert str(frames.filename).startswith(str(tmp_path))
        np.testing.assert_array_equal(frames, FrameStore(root, SETTINGS).read(digest))


def test_what_is_fetched_is_read_without_the_origin(tmp_path: Path, shared: tuple[Path, list[str]]) -> None:
    root, digests = shared
    sizes = sum(EntryFolder(FrameStore(root, SETTINGS).folder).size(digest) for digest in digests)
    store = FrameStore(root, SETTINGS, local=tmp_path / "local")
    assert store.fetch([*digests, *digests], progress=False) == sizes
    assert store.fetch(digests, progress=False) == 0
    gone = FrameStore(tmp_path / "gone", SETTINGS, local=tmp_path / "local")
    assert [gone.read(digest).shape for digest in digests] == [(4, 32, 43, 3)] * 3


def test_a_store_without_copies_has_nothing_to_fetch(shared: tuple[Path, list[str]]) -> None:
    assert FrameStore(shared[0], SETTINGS).fetch(shared[1], progress=False) == 0


def test_a_damaged_entry_is_not_copied(shared: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, digests = shared
    file = EntryFolder(FrameStore(root, SETTINGS).folder).file(digests[0])
    damaged = EntryFolder(FrameStore(tmp_path / "origin", SETTINGS).folder).file(digests[0])
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(file.read_bytes()[:-20] + bytes(20))
    store = FrameStore(tmp_path / "origin", SETTINGS, local=tmp_path / "local")
    with pytest.raises(DataError, match=f"entry {digests[0]} in .* is damaged .*: remove it and build the store again"):
        store.read(digests[0])
    assert not list((tmp_path / "local").rglob("*.npy"))


def test_a_missing_entry_and_a_disk_that_takes_nothing_are_named(
    shared: tuple[Path, list[str]], tmp_path: Path
) -> None:
    store = FrameStore(shared[0], SETTINGS, local=tmp_path)
    with pytest.raises(DataError, match="has no frames for digest abab.*: build it again"):
        store.read("ab" * 32)
    (tmp_path / "file").touch()
    full = FrameStore(shared[0], SETTINGS, local=tmp_path / "file")
    with pytest.raises(DataError, match=r"can't be copied from .* to .*/file/.* \(Not a directory\): make room there"):
        full.fetch(shared[1], progress=False)


def test_the_rest_of_a_killed_copy_is_removed(shared: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, digests = shared
    store = FrameStore(root, SETTINGS, local=tmp_path)
    parts = tmp_path / store.folder.name / "tmp"
    parts.mkdir(parents=True)
    (parts / f"{digests[0]}.killed").write_bytes(b"half")
    store.fetch(digests, progress=False)
    assert list(parts.iterdir()) == []


def _fetch(store: FrameStore, digests: list[str], start: object, copied: multiprocessing.Queue[int]) -> None:
    start.wait()  # type: ignore[attr-defined]
    copied.put(store.fetch(digests, progress=False))


def test_four_processes_of_a_node_copy_each_entry_once(shared: tuple[Path, list[str]], tmp_path: Path) -> None:
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
