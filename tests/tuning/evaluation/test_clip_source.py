"""Where the clips and the frames of a run are after they were moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from data.errors import DataError
from tests.helpers.frame_stores import wait_until_settled
from tests.helpers.video_files import moving_square, write_video
from tuning.config.load import parse_config, save_config
from tuning.config.run_folder import RunFolder
from tuning.evaluation.clip_source import open_clip_source
from tuning.inference.clip_length import training_clip_seconds

PATHS = ["dip/test.mp4", "squat/test.mp4"]


def make_project(folder: Path, store: Path | None = None) -> RunFolder:
    """A run whose sweep has decoded its test clips."""
    run = RunFolder(folder / "runs/small")
    run.path.mkdir(parents=True)
    lines = ["path,label,group,split"]
    for number, label in enumerate(("dip", "squat")):
        for split in ("train", "val", "test"):
            write_video(folder / f"clips/{label}/{split}.mp4", moving_square(number))
            lines.append(f"{label}/{split}.mp4,{label},{label}-{split},{split}")
    run.split.write_text("\n".join(lines) + "\n")
    config = parse_config(
        {
            "name": "small",
            "runs_dir": str(folder / "runs"),
            "data": {"dir": str(folder / "clips")},
            "store": {"dir": str(store or folder / "frame_store"), "frames": 4, "short_side": 32, "workers": 1},
            "space": {"arch": "resnet18", "num_frames": 2},
        }
    )
    save_config(config, run.config)
    wait_until_settled((folder / "clips").rglob("*.mp4"))
    decode(run)
    return run


def decode(run: RunFolder, paths: Sequence[str] = PATHS, data: Path | None = None) -> int:
    """Check and decode the test clips of a run; return how many were not in the frame store."""
    config = run.read_config()
    with open_clip_source(run, config, config.store.decode_settings(), data) as source:
        source.check(paths, "test clips")
        report = source.decode(paths, workers=1, progress=False)
        source.check_content(report.digests())
        return report.decoded


def move(run: RunFolder, place: Path) -> RunFolder:
    """Move the project of a run."""
    return RunFolder(run.path.parents[1].rename(place) / run.path.relative_to(run.path.parents[1]))


def test_moved_project_uses_its_clips_and_frames_where_they_are(tmp_path: Path) -> None:
    run = move(make_project(tmp_path / "old"), tmp_path / "new")
    assert decode(run) == 0
    assert training_clip_seconds(run) is not None
    assert not (tmp_path / "old").exists()


def test_clips_that_are_elsewhere_are_given(tmp_path: Path) -> None:
    run = move(make_project(tmp_path / "old"), tmp_path / "new")
    clips = (tmp_path / "new/clips").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError) as caught:
        decode(run)
    assert str(caught.value) == (
        f"2 of the run's 2 test clips are not in '{tmp_path}/new/clips' nor in '{tmp_path}/old/clips', the first is "
        "'dip/test.mp4'; give --data DIR, the folder that has one sub-folder per class"
    )
    assert decode(run, data=clips) == 0
    (clips / PATHS[1]).unlink()
    with pytest.raises(DataError, match="1 of the run's 2 test clips are not in '.*elsewhere', the first is 'squat/"):
        decode(run, data=clips)
    assert not (tmp_path / "old").exists()
    assert not (tmp_path / "new/clips").exists()


def test_other_clips_under_the_same_names_are_refused(tmp_path: Path) -> None:
    run = move(make_project(tmp_path / "old"), tmp_path / "new")
    write_video(tmp_path / "new/clips" / PATHS[0], moving_square(9))
    with pytest.raises(
        DataError, match="1 clips in '.*/new/clips' have other bytes than .*, the first is 'dip/test.mp4'"
    ):
        decode(run)


def test_frame_store_outside_the_project_that_is_gone_is_not_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "disk/store"
    run = move(make_project(tmp_path / "old", store), tmp_path / "new")
    assert decode(run) == 0, "it is used while it is there"
    store.rename(tmp_path / "put away")
    assert decode(run) == 2
    assert f"note: the frame store {str(store)!r} is gone: frames are decoded into a temporary folder\n" in (
        capsys.readouterr().out
    )
    assert not store.exists()
