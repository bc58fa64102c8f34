from __future__ import annotations

from pathlib import Path

from data.clip import Clip
from data.dataset.same_bytes import find_copies, find_copies_on_disk, merge_groups_of_copies


def clips(*groups: str) -> list[Clip]:
    return [Clip(f"squat/{i}.mp4", "squat", group) for i, group in enumerate(groups)]


def test_files_with_the_same_bytes_are_found_in_order() -> None:
    assert find_copies({"b": "1", "a": "1", "c": "2", "e": "3", "d": "3", "f": "3"}) == [("a", "b"), ("d", "e", "f")]
    assert find_copies({"a": "1", "b": "2"}) == []


def test_copies_are_found_on_disk(tmp_path: Path) -> None:
    for name, content in {"a": b"one", "b": b"two", "c": b"one", "d": b"longer", "e": b"", "f": b""}.items():
        (tmp_path / name).write_bytes(content)
    assert find_copies_on_disk(tmp_path, ["a", "b", "c", "d", "e", "f", "gone"]) == [("a", "c")]


def test_groups_that_share_a_file_become_one() -> None:
    found = clips("w", "x", "y", "z", "w", "v")
    joined = merge_groups_of_copies(found, [("squat/1.mp4", "squat/2.mp4"), ("squat/2.mp4", "squat/4.mp4")])
    assert [clip.group for clip in joined] == ["w", "w", "w", "z", "w", "v"]
    assert [clip.path for clip in joined] == [clip.path for clip in found]
    assert merge_groups_of_copies(found, []) == found
