from __future__ import annotations

from pathlib import Path

import pytest

from data.__main__ import main
from data.dataset.split_report import split_report
from data.dataset.splits import read_split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of eight and six empty files, two per group; a split needs only their names."""
    lines = ["path,source"]
    for label, clips in (("pull Up", 8), ("squat", 6)):
        for number in range(clips):
            path = tmp_path / "clips" / label / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            lines.append(f"{label}/{number}.mp4,{label}-{number // 2}")
    (tmp_path / "sources.csv").write_text("\n".join(lines))
    return tmp_path


def split(folder: Path, *arguments: str) -> int:
    return main(["split", str(folder / "clips"), "--out", str(folder / "split.csv"), *arguments])


def test_folds_are_written_and_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(folder, "--folds", "3", "--groups", f"{folder / 'sources.csv'}:source") == 0
    written = read_split(folder / "split.csv")
    assert written.folds == 3
    assert capsys.readouterr().out.splitlines() == [
        *split_report(written).splitlines(),
        f"split {written.sha256[:12]} written to {folder / 'split.csv'}",
    ]


def test_val_sets_the_share_and_raises_with_folds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(folder, "--folds", "2", "--val", "0.15") == 2
    assert capsys.readouterr().err == (
        "error: --val has no effect with --folds, where each fold is validated once; leave one of them out\n"
    )
    assert not (folder / "split.csv").exists()
    assert split(folder, "--val", "0.5") == 0
    assert len(read_split(folder / "split.csv").clips("val")) == 7
    assert split(folder, "--val", "0") == 2
    assert capsys.readouterr().err == "error: val is 0.0; give a fraction above 0, such as 0.15\n"


@pytest.mark.parametrize("kind", [(), ("--folds", "2")])
def test_negative_seed_is_reproducible_and_differs_from_the_positive_one(folder: Path, kind: tuple[str, ...]) -> None:
    found = []
    for seed in ("-1", "-1", "1"):
        assert split(folder, *kind, "--seed", seed) == 0
        found.append((folder / "split.csv").read_bytes())
    assert found[0] == found[1] != found[2]


def test_groups_without_a_clip_are_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "sources.csv").open("a") as file:
        file.writelines(f"\nsquat/gone {number}.mp4,x" for number in range(5))
    assert split(folder, "--groups", f"{folder / 'sources.csv'}:source") == 0
    expected = (
        "note: 5 rows of the groups file are not clips of the folder: squat/gone 0.mp4 (nearest: squat/0.mp4), "
        "squat/gone 1.mp4 (nearest: squat/1.mp4), squat/gone 2.mp4 (nearest: squat/2.mp4) and 2 more"
    )
    assert expected in capsys.readouterr().out.splitlines()


def test_too_many_folds_are_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(folder, "--folds", "4", "--groups", f"{folder / 'sources.csv'}:source") == 2
    assert capsys.readouterr().err == (
        "error: folds is 4, but no class has the 5 groups that test and 4 folds need; give at most 3\n"
    )
