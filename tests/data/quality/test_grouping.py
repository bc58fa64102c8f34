from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from data.__main__ import main
from data.clip import Clip
from data.dataset.clips import read_groups, scan_clips
from data.dataset.file_names import group_by_file_name
from data.quality.grouping import Grouping, Link, find_groups, pair_scores, write_groups
from data.quality.groups_page import write_groups_page
from data.quality.leakage import LeakageReport, cross_validate, measure_leakage
from data.quality.scenes import Scenes
from data.quality.similarity import find_signatures
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings

SETTINGS = DecodeSettings(frames=16, short_side=64)


class Found(NamedTuple):
    """Clips, their frames and the groups that were found."""

    clips: list[Clip]
    build: BuildReport
    store: FrameStore
    grouping: Grouping


@pytest.fixture(scope="module")
def folder(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated clips, one of them twice, whose names don't show their groups; truth.csv has the groups."""
    root = tmp_path_factory.mktemp("grouping")
    truth = pd.read_csv(demo_clips / "sources.csv")
    names = [f"{path.split('/')[0]}/{np.base_repr(7919 * n + 77777, 36)}.mp4" for n, path in enumerate(truth["path"])]
    for path, name in zip(truth["path"], names, strict=True):
        (root / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo_clips / path, root / "clips" / name)
    shutil.copy(root / "clips" / names[0], root / "clips" / names[0].replace(".mp4", "copy.mp4"))
    truth["path"] = names
    truth.to_csv(root / "truth.csv", index=False)
    return root


@pytest.fixture(scope="module")
def found(folder: Path) -> Found:
    clips = list(scan_clips(folder / "clips").clips)
    store = FrameStore(folder / "store", SETTINGS)
    build = store.build(folder / "clips", [clip.path for clip in clips], progress=False)
    grouping = find_groups(clips, build, store, find_signatures(build, store), progress=False)
    return Found(clips, build, store, grouping)


def test_groups_are_found_from_the_pictures(folder: Path, found: Found) -> None:
    precision, recall = pair_scores(found.grouping.groups, read_groups(str(folder / "truth.csv")))
    assert recall >= 0.95
    assert precision >= 0.9


def test_identical_files_share_a_group(found: Found) -> None:
    grouping = found.grouping
    copy = next(clip.path for clip in found.clips if clip.path.endswith("copy.mp4"))
    assert grouping.groups[copy] == grouping.groups[copy.replace("copy", "")]
    assert any(link.evidence == "same bytes" and copy in (link.first, link.second) for link in grouping.links)


def test_links_connect_the_clips_of_groups_in_any_order_of_clips(found: Found) -> None:
    clips, build, store, grouping = found
    assert find_groups(clips[::-1], build, store, find_signatures(build, store), progress=False) == grouping
    assert set(grouping.groups) == {clip.path for clip in clips}
    assert all(grouping.groups[link.first] == grouping.groups[link.second] for link in grouping.links)
    linked = {end for link in grouping.links for end in (link.first, link.second)}
    assert linked == {path for paths in grouping.members().values() if len(paths) > 1 for path in paths}


def test_written_groups_are_read_back(found: Found, tmp_path: Path) -> None:
    write_groups(found.grouping, tmp_path / "new/groups.csv")
    assert read_groups(str(tmp_path / "new/groups.csv")) == dict(found.grouping.groups)
    table = pd.read_csv(tmp_path / "new/groups.csv")
    assert list(table) == ["path", "group", "evidence", "confidence"]
    assert table["confidence"].dropna().between(0, 1).all()


def test_page_shows_each_group_and_escapes_notes(found: Found, tmp_path: Path) -> None:
    write_groups_page(found.grouping, found.build, found.store, tmp_path / "sheets.html", notes=("a <note>",))
    page = (tmp_path / "sheets.html").read_text()
    members = [paths for paths in found.grouping.members().values() if len(paths) > 1]
    assert page.count("<section>") == len(members)
    assert page.count("data:image/jpeg;base64,") == sum(map(len, members))
    assert "a &lt;note&gt;" in page
    assert "http" not in page


def test_summary_and_warnings_of_a_grouping() -> None:
    groups = {"a/1": "a/1", "a/2": "a/1", "a/3": "a/1", "a/4": "a/4", "b/1": "b/1", "b/2": "b/2"}
    grouping = Grouping(groups, (), {path: path[0] for path in groups})
    assert grouping.warnings() == [
        "Group 'a/1' has 3 of the 4 clips of class 'a'; check whether they are one recording."
    ]
    assert grouping.summary() == (
        "6 clips in 4 groups; 3 clips share a group with another clip, the largest group has 3."
    )
    assert Link("a", "b", "same scene", 0.5).evidence_for("b") == "same scene as a"


def test_plain_pictures_are_not_one_room() -> None:
    scenes = Scenes.empty(2)
    for row in range(2):
        scenes.set_row(row, np.full((4, 48, 64, 3), 128, np.uint8))
    assert scenes.distances(np.arange(2), slice(None))[0, 1] > 1


def clips_named(*names: str, label: str = "squat") -> list[Clip]:
    return [Clip(f"{label}/{name}.mp4", label, name) for name in names]


def test_names_that_differ_in_their_last_number_are_grouped() -> None:
    clips = clips_named("gym_7_01", "gym_7_02", "anna-1", "anna-2", "anna part 3", "other", "lone_1", "gym_9")
    assert group_by_file_name(clips) == {
        "squat/anna": ["squat/anna part 3.mp4", "squat/anna-1.mp4", "squat/anna-2.mp4"],
        "squat/gym_7": ["squat/gym_7_01.mp4", "squat/gym_7_02.mp4"],
    }


def test_running_numbers_are_not_grouped() -> None:
    assert group_by_file_name(clips_named(*(f"squat_{n}" for n in range(9)), "x")) == {}
    # Next to gym_7_01, gym_8 and gym_9 are recordings, not parts of one.
    numbered = clips_named("gym_8", "gym_9", "gym_7_01", "gym_7_02", "a", "b", "c")
    assert list(group_by_file_name(numbered)) == ["squat/gym_7"]
    # The same stem in another class is another recording.
    assert group_by_file_name([*clips_named("v_1", "a", "b"), *clips_named("v_2", "c", label="dip")]) == {}


def test_pair_scores_count_pairs() -> None:
    truth = {"a": "1", "b": "1", "c": "1", "d": "2", "e": "2"}
    assert pair_scores({"a": "x", "b": "x", "c": "y", "d": "y", "e": "z"}, truth) == (1 / 2, 1 / 4)
    assert pair_scores(truth, truth) == (1.0, 1.0)
    assert pair_scores({"a": "x", "b": "y"}, {"a": "1", "b": "2"}) == (1.0, 1.0)


def test_leakage_is_found_if_rooms_predict_the_class(found: Found, folder: Path) -> None:
    truth = read_groups(str(folder / "truth.csv"))
    grouped = [Clip(clip.path, clip.label, truth[clip.path]) for clip in found.clips if clip.path in truth]
    report = measure_leakage(grouped, found.build, found.store)
    assert report is not None
    assert report.grouped is not None
    assert report.random - report.grouped > 0.1
    assert "would measure rooms, not exercises" in report.summary()


def test_no_leakage_is_found_if_features_depend_on_the_class_alone() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 60)
    features = rng.normal(size=(120, 5)) + (labels == "a")[:, None] * 3.0
    report = cross_validate(features, labels.tolist(), [str(n // 3) for n in range(120)])
    assert report is not None
    assert report.random > 0.95
    assert "would hardly inflate the test score" in report.summary()
    single_groups = cross_validate(features, labels.tolist(), ["x"] * 60 + ["y"] * 60)
    assert single_groups is not None
    assert single_groups == LeakageReport(single_groups.random, None, 0.5)
    assert "Can't measure" in single_groups.summary()


def test_command_writes_groups_that_the_split_command_finds_too(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decode = ["--store", str(folder / "store"), "--frames", "16", "--short-side", "64"]
    out, sheets = tmp_path / "groups.csv", tmp_path / "sheets.html"
    check = ["--check", str(folder / "truth.csv")]
    assert main(["groups", str(folder / "clips"), "--out", str(out), "--sheets", str(sheets), *decode, *check]) == 0
    printed = capsys.readouterr().out
    assert "over pairs of clips: precision" in printed
    assert sheets.is_file()
    again = ["groups", str(folder / "clips"), "--out", str(out), *decode]
    assert main(again) == 2
    assert "groups.csv' exists: give another name" in capsys.readouterr().err
    split = tmp_path / "split.csv"
    assert main(["split", str(folder / "clips"), "--out", str(out)]) == 2
    assert "exists and is not a split file" in capsys.readouterr().err
    assert main(["split", str(folder / "clips"), "--out", str(split), "--groups", "auto", *decode]) == 0
    table = pd.read_csv(split)
    assert dict(zip(table["path"], table["group"], strict=True)) == read_groups(str(out))
    assert (table.groupby("group")["split"].nunique() == 1).all()
