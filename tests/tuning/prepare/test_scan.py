"""What a sweep finds in a folder before it decodes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.dataset.splits import Split, read_split, write_split
from data.dataset.stratify import make_split
from data.errors import DataError
from tests.helpers.clip_folders import make_files, make_split_folders
from tests.helpers.labelled_clips import clips_of
from tuning.config.load import load_config, parse_config, save_config
from tuning.config.paths import absolute_paths
from tuning.config.schema.data import DataConfig
from tuning.config.unused import check_given_settings
from tuning.errors import ConfigError
from tuning.prepare.clips import scan


def data_config(root: Path, **settings: object) -> DataConfig:
    return parse_config({"data": {"dir": str(root), **settings}}).data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_split_folders(tmp_path / "clips", train=6, val=3, test=2)


def test_split_folders_are_refused_used_or_merged(folder: Path) -> None:
    with pytest.raises(DataError, match="--split folders to use these splits, or --split merge to ignore them"):
        scan(data_config(folder))
    used, merged = scan(data_config(folder, split="folders")), scan(data_config(folder, split="merge"))
    assert used.split is not None
    assert {row.clip.path.split("/")[0]: row.split for row in used.split.rows} == {
        part: part for part in ("train", "val", "test")
    }
    assert merged.split is not None
    assert merged.split == make_split(merged.clips)
    assert used.split.classes == merged.split.classes == ("push up", "squat")
    assert (used.has_groups, merged.has_groups) == (False, False)


@pytest.mark.parametrize("name", ["val", "seed", "test", "few_groups", "folds"])
def test_setting_without_effect_on_split_folders_is_refused(folder: Path, name: str) -> None:
    value = {"val": 0.2, "test": 0.2, "few_groups": "train", "folds": 3, "seed": 1}[name]
    with pytest.raises(ConfigError, match=f"^data.{name} has no effect on the split that the clips come with"):
        scan(data_config(folder, split="folders", **{name: value}))
    merged = scan(data_config(folder, split="merge", **{name: value}))
    assert merged.split is not None


def test_split_that_is_a_file_takes_no_settings_of_a_new_one(folder: Path) -> None:
    for split, ok in (("some.csv", False), ("merge", True)):
        config = parse_config({"data": {"dir": str(folder), "split": split, "seed": 1}})
        if ok:
            check_given_settings(config)
        else:
            with pytest.raises(ConfigError, match="data.seed has no effect on an existing data.split"):
                check_given_settings(config)


def test_missing_split_file_is_refused_with_the_other_ways(folder: Path) -> None:
    with pytest.raises(DataError, match="^no such split file: 'folder'; give a CSV, or .* one of folders, merge$"):
        scan(data_config(folder, split="folder"))


def test_labels_are_read_from_files(tmp_path: Path) -> None:
    root = make_files(tmp_path / "flat", *(f"{number}.mp4" for number in range(12)))
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\n" + "".join(f"{number}.mp4,{'ab'[number % 2]}\n" for number in range(12)))
    found = scan(data_config(root, labels=str(labels)))
    assert found.split is not None
    assert {clip.path: clip.label for clip in found.clips}["3.mp4"] == "b"
    # The split that was made says the classes, without the file of labels.
    write_split(found.split, tmp_path / "split.csv")
    assert scan(data_config(root, split=str(tmp_path / "split.csv"))).split == found.split


def test_resumed_run_keeps_its_classes(tmp_path: Path) -> None:
    """A run from before names that look alike were refused goes on as it was."""
    split: Split = make_split(clips_of(**{"push_up": [1, 1, 1], "push-up": [1, 1, 1]}))
    root = make_files(tmp_path / "clips", *(row.clip.path for row in split.rows))
    write_split(split, tmp_path / "split.csv")
    config = data_config(root, split=str(tmp_path / "split.csv"))
    assert scan(config, resumed=True).split == read_split(tmp_path / "split.csv")
    with pytest.raises(DataError, match="class names look alike: 'push-up' and 'push_up'"):
        scan(config)
    with pytest.raises(DataError, match="all 6 clips are of one class"):
        scan(data_config(root, merge_classes=True))


def test_settings_of_the_layout_are_kept(tmp_path: Path) -> None:
    config = load_config(
        Path("configs/small.yaml"),
        ["data.merge_classes=true"],
        {"data.split": "merge", "data.labels": ["a.txt", "b.csv"]},
    )
    config = absolute_paths(config)
    assert config.data.split == "merge"
    assert config.data.labels == (str(Path("a.txt").absolute()), str(Path("b.csv").absolute()))
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml").data == config.data
