"""Numbers that benchmarks calculate from what they measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import fold_evenness, whole_sweep
from benchmarks.kinetics import LargeSweep
from benchmarks.process_tree import CommandFailedError, measure_command
from benchmarks.step_rates import union_length

RESULTS = Path(whole_sweep.__file__).with_suffix(".jsonl")


def test_table_of_earlier_whole_sweeps_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    whole_sweep.main(["--table", "--out", str(RESULTS)])
    table = capsys.readouterr().out
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("|")}
    assert set(whole_sweep.SET_UPS) < set(rows)
    assert "815 (714 to 1025)" in rows["notebook"]
    assert "3.47 (3.19 to 3.98)" in rows["asha"]


def test_union_length_counts_overlaps_once() -> None:
    assert union_length([(0.0, 2.0), (1.0, 3.0), (1.5, 2.5), (5.0, 6.0)]) == 4.0


def test_mean_asha_epochs_weighs_each_rung_by_its_survivors() -> None:
    sweep = LargeSweep(
        clips=100,
        trials=9,
        epochs=27,
        gpus=5,
        gpus_a_node=2,
        cpus_a_gpu=1,
        gigabits=1.0,
        gpu_ms=1.0,
        gain=1.0,
        val=0.1,
        grace=3,
        reduction=3,
    )
    # All trials train 3 epochs, a third of them 6 more, a ninth of them 18 more.
    assert sweep.mean_asha_epochs == pytest.approx(3 + 6 / 3 + 18 / 9)
    assert sweep.nodes == 3


def test_folds_of_both_methods_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    fold_evenness.main(["--instances", "1"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1] for row in rows] == ["ours", "scikit-learn"] * 5
    assert all(0 <= float(row[2]) < 1 for row in rows)


def test_command_is_measured_with_its_child_processes(tmp_path: Path) -> None:
    busy = "import time; end = time.process_time() + 1\nwhile time.process_time() < end: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    usage = measure_command([sys.executable, "-c", parent], tmp_path / "log.txt")
    assert len(usage.processes) == 2
    assert usage.memory > 1
    assert 0 < usage.cpu <= usage.seconds * 1.1


def test_failed_command_is_reported_with_the_end_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError, match=r"(?s)exited with 3:\s+no such clip"):
        measure_command([sys.executable, "-c", "print('no such clip'); exit(3)"], tmp_path / "log.txt")
