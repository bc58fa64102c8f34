from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from data.store.entries import CorruptEntryError, Entry, EntryFolder, map_frames
from data.video.decode import ClipFacts

FACTS = ClipFacts(
    container="mov,mp4",
    codec="h264",
    width=64,
    height=48,
    rotation=90,
    fps=25.0,
    variable_rate=False,
    packets=12,
    frames=12,
    duration=0.48,
    sought=False,
    damage="",
)
FRAMES = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
DIGEST = "ab" * 32


def folder_with_entry(root: Path) -> tuple[EntryFolder, Path]:
    folder = EntryFolder(root)
    folder.put(DIGEST, FRAMES, FACTS)
    return folder, folder.file(DIGEST)


def test_an_entry_tells_frames_facts_and_size(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    entry = folder.check(DIGEST, None, whole=True)
    assert entry == Entry(FACTS, file.stat().st_size) == folder.check(DIGEST, entry, whole=False)
    np.testing.assert_array_equal(map_frames(file), FRAMES)
    np.testing.assert_array_equal(np.load(file), FRAMES)
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == [file.name]


def test_every_altered_byte_is_found(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CorruptEntryError):
            folder.check(DIGEST, None, whole=True)


def test_every_missing_byte_is_found_without_reading_the_frames(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    content, entry = file.read_bytes(), folder.check(DIGEST, None, whole=True)
    for size in range(len(content)):
        file.write_bytes(content[:size])
        for known in (None, entry):
            with pytest.raises(CorruptEntryError):
                folder.check(DIGEST, known, whole=False)


def test_the_entry_of_another_clip_is_found(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    folder.put("cd" * 32, FRAMES, FACTS)
    folder.file("cd" * 32).rename(file)
    with pytest.raises(CorruptEntryError, match="it is the entry of cdcd"):
        folder.check(DIGEST, None, whole=False)


def test_what_numpy_wrote_is_no_entry(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    np.save(file, FRAMES)
    with pytest.raises(CorruptEntryError):
        folder.check(DIGEST, None, whole=False)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04 a zip file", b"text " * 100])
def test_what_is_no_array_is_not_mapped(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "entry.npy").write_bytes(content)
    with pytest.raises(CorruptEntryError):
        map_frames(tmp_path / "entry.npy")


@pytest.mark.parametrize("array", [FRAMES.astype(np.float32), FRAMES[0]])
def test_arrays_of_another_kind_are_not_mapped(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "entry.npy", array)
    with pytest.raises(CorruptEntryError, match="it holds"):
        map_frames(tmp_path / "entry.npy")


def test_a_copy_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    _, file = folder_with_entry(tmp_path / "origin")
    copies = EntryFolder(tmp_path / "copies")
    with pytest.raises(CorruptEntryError):
        copies.take(DIGEST, io.BytesIO(file.read_bytes()[:-1]))
    assert not [found for found in (tmp_path / "copies").rglob("*") if found.is_file()]
    with file.open("rb") as source:
        assert copies.take(DIGEST, source).facts == FACTS
    assert copies.file(DIGEST).read_bytes() == file.read_bytes()
