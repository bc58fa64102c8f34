from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.checkpoints import checkpoint  # noqa: F401  A fixture.
from tests.helpers.frame_stores import build, wait_until_settled
from tests.helpers.video_files import moving_square, write_video
from tuning.config.load import parse_config
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.prepare.clips import ScannedData, scan
from tuning.prepare.disk_space import DiskNeed, check_disk_space, disk_needs

TB = 10**12


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number in range(6):
        write_video(tmp_path / f"clips/{'squat' if number % 2 else 'dip'}/{number}.mp4", moving_square(number))
    return tmp_path / "clips"


def sweep(clips: Path, **settings: Any) -> SweepConfig:
    """One trial of the checkpoint's C3D."""
    c3d = {"arch": "c3d", "sampler": "balanced", "lr": 0.01, "num_frames": 8}
    return parse_config(
        {
            "runs_dir": str(clips.parent / "runs"),
            "data": {"dir": str(clips)},
            "store": {"dir": str(clips.parent / "store"), "frames": 8, "short_side": 16},
            "space": {**c3d, **settings.pop("space", {})},
            "models": {"c3d": {"width": 8, "batch_norm": True, "head": "pool"}},
            "train": {"epochs": 1, "size": 48, **settings.pop("train", {})},
            **settings,
        }
    )


def needs(config: SweepConfig, max_concurrent: int = 1) -> dict[str, DiskNeed]:
    found = disk_needs(scan(config.data), config, max_concurrent)
    return {need.setting: need for need in found if need.what != "the champion"}


def test_estimate_of_frames_is_near_what_decoding_stores_and_counts_only_what_is_missing(clips: Path) -> None:
    config = sweep(clips)
    scanned: ScannedData = scan(config.data)
    expected = needs(config)["store.dir"]
    wait_until_settled(clips.rglob("*.mp4"))
    store = config.store.open()
    build(store, clips, [clip.path for clip in scanned.clips])
    stored = sum(file.stat().st_size for file in store.folder.rglob("*.npy"))
    assert expected.what == "frames of 6 clips"
    assert stored <= expected.most <= 1.5 * stored
    assert (needs(config)["store.dir"].what, needs(config)["store.dir"].most) == ("frames of 0 clips", 0)
    write_video(clips / "dip/new.mp4", moving_square(9))
    assert needs(config)["store.dir"].what == "frames of 1 clip"


def test_unreadable_clips_count_as_videos_of_the_usual_size(clips: Path) -> None:
    whole = needs(sweep(clips))["store.dir"].most
    for file in clips.rglob("*.mp4"):
        file.write_bytes(b"not a video")
    assert 0.3 * whole < needs(sweep(clips))["store.dir"].most < 3 * whole


def test_estimate_of_a_checkpoint_is_near_its_size(clips: Path, checkpoint: tuple[Path, torch.nn.Module]) -> None:  # noqa: F811
    size = sum(file.stat().st_size for file in checkpoint[0].iterdir())
    assert 0.8 * size < needs(sweep(clips))["TMPDIR"].most < 1.2 * size


def test_checkpoints_of_all_trials_folds_and_finalists_are_counted(clips: Path) -> None:
    one = needs(sweep(clips))["runs_dir"].most

    def times(**settings: Any) -> float:
        return needs(sweep(clips, **settings))["runs_dir"].most / one

    assert times(space={"lr": [0.1, 0.01]}) == 2
    assert times(train={"epochs": 9}) == 3, "the best two and the latest"
    assert times(data={"dir": str(clips), "folds": 2}) == 2
    finalists = {"finalists": {"top": 1, "seeds": 2}}
    assert times(search=finalists) == 3
    assert times(search={"algorithm": "random", "trials": 4}, space={"lr": {"low": 1e-4, "high": 1e-2}}) == 4
    frozen = {"models": {"c3d": {"weights": "c3d.pt", "width": 8, "batch_norm": True, "head": "pool"}}}
    assert times(**frozen, train={"trainable": "head"}) == pytest.approx(1 / 3)


def test_concurrent_trials_write_their_checkpoints_to_the_temporary_folder_first(clips: Path) -> None:
    config = sweep(clips, space={"lr": [0.1, 0.01, 0.001]})
    assert needs(config, 2)["TMPDIR"].most == 2 * needs(config, 1)["TMPDIR"].most
    assert needs(config, 9)["TMPDIR"].most == 3 * needs(config, 1)["TMPDIR"].most
    assert (needs(config, 0)["TMPDIR"].least, needs(config, 0)["TMPDIR"].most) == (0, 0)


def test_copies_on_a_local_disk_are_counted_too(clips: Path) -> None:
    store = {"dir": str(clips.parent / "store"), "local": str(clips.parent / "local")}
    found = needs(sweep(clips, store=store))
    assert found["store.local"].most == found["store.dir"].most > 0


def test_too_little_space_is_refused_with_the_numbers(tmp_path: Path) -> None:
    frames = DiskNeed("frames of 9 clips", "store.dir", tmp_path / "not/there/yet", 5 * TB, 10 * TB)
    checkpoints = DiskNeed("checkpoints of 2 trials", "runs_dir", tmp_path, 900 * TB, 1000 * TB)
    with pytest.raises(
        ConfigError, match=r"^too little disk space at '.*': .* free, and at least 905000\.0 GB are"
    ) as e:
        check_disk_space([frames, checkpoints])
    assert "1000000.0 GB for checkpoints of 2 trials" in str(e.value)
    assert str(e.value).endswith("free space, or set store.dir or runs_dir to another disk")
    assert "\n" not in str(e.value)


def test_space_that_may_run_out_is_a_warning_and_enough_space_a_line(tmp_path: Path) -> None:
    perhaps = DiskNeed("frames of 9 clips", "store.dir", tmp_path, 1, 1000 * TB)
    (line,) = check_disk_space([perhaps])
    assert line.startswith("warning: disk space may run out: ")
    assert line.endswith("free space, or set store.dir to another disk")
    assert check_disk_space([DiskNeed("frames of 0 clips", "store.dir", tmp_path, 0, 0)]) == []
    small = DiskNeed("frames of 9 clips", "store.dir", tmp_path, 1, 2_000_000)
    (line,) = check_disk_space([small, small])
    assert line.startswith("disk: ")
    assert "at most 4 MB needed (2 MB for frames of 9 clips, 2 MB for frames of 9 clips)" in line
