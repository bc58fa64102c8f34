"""Entries: their format, corruption of every byte, and copies."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from data.store.entry_file import CorruptEntryError, StoreEntry, map_frames
from data.store.entry_folder import EntryFolder
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


def test_entry_holds_frames_facts_and_size(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    entry = folder.check(DIGEST, None, verify=True)
    assert entry == StoreEntry(FACTS, file.stat().st_size) == folder.check(DIGEST, entry, verify=False)
    np.testing.assert_array_equal(map_frames(file), FRAMES)
    np.testing.assert_array_equal(np.load(file), FRAMES)
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == [file.name]


def test_every_altered_byte_is_detected(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    content = file.read_bytes()
    for index in range(len(content)):
        file.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
        with pytest.raises(CorruptEntryError):
            folder.check(DIGEST, None, verify=True)


def test_every_truncation_is_detected_without_reading_the_frames(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    content, entry = file.read_bytes(), folder.check(DIGEST, None, verify=True)
    for size in range(len(content)):
        file.write_bytes(content[:size])
        for known in (None, entry):
            with pytest.raises(CorruptEntryError):
                folder.check(DIGEST, known, verify=False)


def test_entry_of_another_clip_is_detected(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    folder.put("cd" * 32, FRAMES, FACTS)
    folder.file("cd" * 32).rename(file)
    with pytest.raises(CorruptEntryError, match="it is the entry of cdcd"):
        folder.check(DIGEST, None, verify=False)


def test_plain_npy_file_is_not_an_entry(tmp_path: Path) -> None:
    folder, file = folder_with_entry(tmp_path)
    np.save(file, FRAMES)
    with pytest.raises(CorruptEntryError):
        folder.check(DIGEST, None, verify=False)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04 a zip file", b"text " * 100])
def test_file_that_is_not_an_array_is_not_mapped(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "entry.npy").write_bytes(content)
    with pytest.raises(CorruptEntryError):
        map_frames(tmp_path / "entry.npy")


@pytest.mark.parametrize("array", [FRAMES.astype(np.float32), FRAMES[0]])
def test_array_of_another_type_or_shape_is_not_mapped(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "entry.npy", array)
    with pytest.raises(CorruptEntryError, match="it holds"):
        map_frames(tmp_path / "entry.npy")


def test_only_intact_entry_is_copied(tmp_path: Path) -> None:
    _, file = folder_with_entry(tmp_path / "origin")
    copies = EntryFolder(tmp_path / "copies")
    with pytest.raises(CorruptEntryError):
        copies.copy_from(io.BytesIO(file.read_bytes()[:-1]), DIGEST)
    assert not [found for found in (tmp_path / "copies").rglob("*") if found.is_file()]
    with file.open("rb") as source:
        assert copies.copy_from(source, DIGEST).facts == FACTS
    assert copies.file(DIGEST).read_bytes() == file.read_bytes()
