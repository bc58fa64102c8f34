"""How often a test split was used is counted over all runs of a folder."""

from __future__ import annotations

from pathlib import Path

from data.clip import Clip
from data.dataset.splits import Assigned, Split
from tuning.config.run_folder import RunFolder
from tuning.evaluation.usage_log import count_uses, log_use


def split(test: str = "a", train: str = "b") -> Split:
    rows = [(test, "test"), (train, "train"), ("c", "val")]
    return Split(tuple(Assigned(Clip(f"dip/{name}.mp4", "dip", name), part) for name, part in rows))


def run(folder: Path, name: str) -> RunFolder:
    made = RunFolder(folder / name)
    made.path.mkdir()
    return made


def test_one_champion_once(tmp_path: Path) -> None:
    first = run(tmp_path, "first")
    log_use(first, split(), "one", "champion")
    log_use(first, split(), "other", "frame order")
    assert count_uses(first, split()).sentence == (
        "This test split has been used once. 1 other model answered it to ask about time; none was chosen by that."
    )


def test_champions_of_several_runs_on_the_same_test_clips(tmp_path: Path) -> None:
    first, second, elsewhere = (run(tmp_path, name) for name in ("first", "second", "elsewhere"))
    log_use(first, split(), "one", "champion")
    log_use(first, split(), "one", "champion")
    log_use(second, split(train="d"), "two", "champion")
    log_use(elsewhere, split(test="e"), "three", "champion")
    uses = count_uses(first, split())
    assert (uses.evaluations, uses.champions, uses.runs, uses.others) == (3, 2, 2, 0)
    assert uses.sentence.startswith("This test split has been used 3 times, for 2 champions of 2 runs. Whoever picks")
    assert count_uses(elsewhere, split(test="e")).evaluations == 1


def test_a_line_cut_short_is_named(tmp_path: Path, capsys: object) -> None:
    first = run(tmp_path, "first")
    log_use(first, split(), "one", "champion")
    with first.usage_log.open("a") as stream:
        stream.write('{"time": ')
    assert count_uses(first, split()).evaluations == 1
    assert "a damaged line of" in capsys.readouterr().out  # type: ignore[attr-defined]
