from __future__ import annotations

import unicodedata
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dataset.clips import read_groups, scan_clips
from data.dataset.listed_paths import match_listed, with_nearest
from data.errors import DataError
from tests.helpers.clip_folders import make_files
from tests.helpers.messages import exactly

COMPOSED = unicodedata.normalize("NFC", "Liegestütz/é.mp4")
DECOMPOSED = unicodedata.normalize("NFD", "Liegestütz/é.mp4")
PATHS = ["pull Up/day 1/2.mp4", "squat/1.mp4", COMPOSED]


@pytest.mark.parametrize(
    ("listed", "path"),
    [
        ("squat/1.mp4", "squat/1.mp4"),
        ("./squat/1.mp4", "squat/1.mp4"),
        ("squat//./1.mp4", "squat/1.mp4"),
        ("clips/squat/1.mp4", "squat/1.mp4"),
        ("./data/clips/squat/1.mp4", "squat/1.mp4"),
        ("/kaggle/input/clips/squat/1.mp4", "squat/1.mp4"),
        ("pull Up\\day 1\\2.mp4", "pull Up/day 1/2.mp4"),
        (r"C:\data\clips\pull Up\day 1\2.mp4", "pull Up/day 1/2.mp4"),
        (DECOMPOSED, COMPOSED),
        (f"clips/{DECOMPOSED}", COMPOSED),
        ("Squat/1.mp4", None),
        ("1.mp4", None),
        ("other/squat/1.mp4", None),
        ("clips/../clips/squat/1.mp4", None),
        ("", None),
    ],
)
def test_listed_path_means_the_clip(listed: str, path: str | None) -> None:
    found, unmatched = match_listed({listed: "g"}, PATHS, Path("somewhere/clips"), "groups")
    assert (found, unmatched) == (({path: "g"}, ()) if path else ({}, (listed,)))


names = st.text(st.characters(categories=("L", "N", "Zs", "M")), min_size=1, max_size=5).filter(str.strip)


@given(st.lists(st.lists(names, min_size=2, max_size=3), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_any_spelling_means_the_clip(folders: list[list[str]], random: Random) -> None:
    paths = {unicodedata.normalize("NFC", "/".join(parts)): None for parts in folders}
    for path in paths:
        written = unicodedata.normalize(random.choice(["NFC", "NFD"]), path)
        written = random.choice(["", "./", "a folder/", "/a folder/", "data/a folder/./"]) + written
        listed = written.replace("/", random.choice(["/", "\\", "//"]))
        assert match_listed({listed: 1}, list(paths), Path("a folder"), "groups") == ({path: 1}, ())


def test_exact_path_wins_and_ambiguous_path_means_none() -> None:
    paths = [COMPOSED, DECOMPOSED, "clips/a.mp4", "a.mp4"]
    found, unmatched = match_listed({COMPOSED: 1, DECOMPOSED: 2, f"./{COMPOSED}": 3}, paths, Path("clips"), "groups")
    assert found == {COMPOSED: 1, DECOMPOSED: 2}
    assert unmatched == (f"./{COMPOSED}",)
    assert match_listed({"clips/a.mp4": 1}, paths, Path("clips"), "groups")[0] == {"clips/a.mp4": 1}


def test_two_values_for_one_clip_raise() -> None:
    listed = {"squat/1.mp4": "a", "./squat/1.mp4": "b"}
    expected = "'squat/1.mp4' and './squat/1.mp4' are one clip, 'squat/1.mp4', but have different groups; keep one of"
    with pytest.raises(DataError, match=exactly(f"{expected} them")):
        match_listed(listed, PATHS, Path("clips"), "groups")
    assert match_listed(dict.fromkeys(listed, "a"), PATHS, Path("clips"), "groups") == ({"squat/1.mp4": "a"}, ())


def test_unmatched_path_is_shown_beside_the_nearest() -> None:
    assert with_nearest(["sqat/1.mp4", "lists/of/others/2.MP4", "zzz"], PATHS) == [
        "sqat/1.mp4 (nearest: squat/1.mp4)",
        "lists/of/others/2.MP4 (nearest: pull Up/day 1/2.mp4)",
        "zzz",
    ]


def test_groups_file_matches_in_spite_of_its_spelling(tmp_path: Path) -> None:
    root = make_files(tmp_path / "clips", COMPOSED, "squat/1.mp4", "squat/2.mp4")
    lines = ["path,group", f"{DECOMPOSED},Zoë", "clips\\squat\\1.mp4,Zoe\u0308", "./squat/2.mp4,g"]
    (tmp_path / "groups.csv").write_text("\n".join(lines))
    scan = scan_clips(root, read_groups(str(tmp_path / "groups.csv")))
    assert {clip.path: clip.group for clip in scan.clips} == {COMPOSED: "Zoë", "squat/1.mp4": "Zoë", "squat/2.mp4": "g"}
    assert scan.unmatched_groups == ()


def test_clip_without_a_group_is_shown_beside_the_nearest_row(tmp_path: Path) -> None:
    make_files(tmp_path, "squat/1.mp4", "dip/2.mp4")
    expected = (
        "1 of 2 clips have no group, the first is 'dip/2.mp4'; list the path of each, relative to the data folder, in "
        "the groups file (it lists 'dips/2.mp4', which is not a clip)"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        scan_clips(tmp_path, {"squat/1.mp4": "a", "dips/2.mp4": "b"})
