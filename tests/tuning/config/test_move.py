"""Where the files of a run are after its folder or the whole project was moved or copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tuning.config.load import parse_config, save_config
from tuning.config.move import Move
from tuning.config.paths import absolute_paths
from tuning.config.run_folder import RunFolder


@pytest.mark.parametrize(
    ("recorded", "present", "old", "new"),
    [
        ("/home/a/project/runs/x", "/data/b/runs/x", "/home/a/project", "/data/b"),
        ("/home/a/project/runs/x", "/home/a/project/runs/y", "/home/a/project/runs/x", "/home/a/project/runs/y"),
        ("/workspace/runs/x", "/home/a/workspace/runs/x", "/workspace", "/home/a/workspace"),
        ("/runs/x", "/a/runs/x", "/runs", "/a/runs"),
    ],
)
def test_move_is_that_of_the_topmost_folder_with_another_path(recorded: str, present: str, old: str, new: str) -> None:
    assert Move.between(Path(recorded), Path(present)) == Move(Path(old), Path(new))


def test_folder_that_a_link_leads_to_was_not_moved(tmp_path: Path) -> None:
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    assert Move.between(tmp_path / "runs/x", tmp_path / "link/x") is None


def test_paths_outside_the_moved_folder_stay() -> None:
    move = Move(Path("/a/project"), Path("/a/project/old"))
    assert move.apply(Path("/a/project/clips")) == Path("/a/project/old/clips")
    assert move.apply(Path("/a/project/old/clips")) == Path("/a/project/old/clips")
    assert move.apply(Path("/a/projects")) == Path("/a/projects")


def project(folder: Path) -> RunFolder:
    """A project with clips, a frame store and the settings and split of a run."""
    run = RunFolder(folder / "runs/small")
    run.path.mkdir(parents=True)
    for path in ("clips/dip/1.mp4", "frame_store/key/index.sqlite", "weights/c3d.pt"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).touch()
    rows = [
        f"{label}/{split}.mp4,{label},{label}-{split},{split}" for label in "ab" for split in ("train", "val", "test")
    ]
    run.split.write_text("\n".join(["path,label,group,split", "dip/1.mp4,a,dip,train", *rows]) + "\n")
    config = parse_config(
        {
            "name": "small",
            "runs_dir": str(folder / "runs"),
            "data": {"dir": str(folder / "clips"), "groups": f"{folder}/clips/sources.csv:video"},
            "store": {"dir": str(folder / "frame_store"), "local": "/elsewhere/frames"},
            "models": {"c3d": {"weights": str(folder / "weights/c3d.pt")}, "resnet18": {"weights": "imagenet"}},
        }
    )
    save_config(absolute_paths(config), run.config)
    return run


def test_all_paths_of_a_moved_project_are_the_present_ones(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "some where/new"
    before = project(old).read_config()
    new.parent.mkdir()
    old.rename(new)
    run = RunFolder(new / "runs/small")
    config = run.read_config()
    assert (config.runs_dir, config.name) == (str(new / "runs"), "small")
    assert config.data.dir == str(new / "clips")
    assert config.data.groups == f"{new}/clips/sources.csv:video"
    assert (config.store.dir, config.store.local) == (str(new / "frame_store"), "/elsewhere/frames")
    assert config.weights("c3d") == str(new / "weights/c3d.pt")
    assert config.weights("resnet18") == "imagenet"
    assert run.read_recorded_config() == before


def test_copied_project_does_not_use_the_original(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    project(old)
    shutil.copytree(old, new)
    config = RunFolder(new / "runs/small").read_config()
    assert not [path for path in (config.runs_dir, config.data.dir, config.store.dir) if not path.startswith(str(new))]


def test_run_moved_alone_keeps_what_was_left_behind(tmp_path: Path) -> None:
    old = tmp_path / "old"
    run = project(old)
    # Another project's clips are not those of the run.
    (tmp_path / "new/clips/squat").mkdir(parents=True)
    shutil.move(run.path, tmp_path / "new/runs/small")
    config = RunFolder(tmp_path / "new/runs/small").read_config()
    assert config.data.dir == str(old / "clips")
    assert config.store.dir == str(old / "frame_store")
    assert config.runs_dir == str(tmp_path / "new/runs")


def test_renamed_run_has_its_new_name(tmp_path: Path) -> None:
    run = project(tmp_path)
    renamed = RunFolder(run.path.rename(tmp_path / "runs/my best run"))
    config = renamed.read_config()
    assert (config.name, config.runs_dir) == ("my best run", str(tmp_path / "runs"))
    assert config.data.dir == str(tmp_path / "clips")


def test_original_in_a_folder_that_cannot_be_opened_is_not_used(tmp_path: Path) -> None:
    project(tmp_path / "private/old")
    shutil.copytree(tmp_path / "private/old", tmp_path / "new")
    shutil.rmtree(tmp_path / "private")
    (tmp_path / "private").symlink_to("private")
    assert RunFolder(tmp_path / "new/runs/small").read_config().data.dir == str(tmp_path / "new/clips")
