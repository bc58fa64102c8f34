"""What is kept of how a run was made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuning.report.provenance import (
    Process,
    ProvenanceError,
    add_process,
    cluster_text,
    command_line,
    end_process,
    machine_text,
    read_processes,
    versions,
)


def process(command: str) -> Process:
    return Process(
        command=command,
        started="2026-01-01T00:00:00+00:00",
        machine=machine_text(),
        cluster="1 node, 2 CPUs",
        versions=versions(),
        decoded=3,
        seconds_decoding=1.5,
    )


def test_each_process_is_kept_with_its_own_time(tmp_path: Path) -> None:
    file = tmp_path / "made.json"
    assert read_processes(file) == []
    add_process(file, process("first"))
    add_process(file, process("second"))
    end_process(file, 12.5, at_once=2)
    told = [(each.command, each.seconds_trials, each.at_once) for each in read_processes(file)]
    assert told == [("first", None, None), ("second", 12.5, 2)]


def test_the_command_can_be_typed_again_and_holds_no_password() -> None:
    words = ["sweep", "--data", "my clips", "tracking.uri=postgresql://me:secret@host/db", "space.lr=[1e-3]"]
    assert command_line(words) == (
        "python -m tuning sweep --data 'my clips' tracking.uri=postgresql://me@host/db 'space.lr=[1e-3]'"
    )


def test_the_cluster_in_words() -> None:
    assert cluster_text([{"CPU": 2.0}]) == "1 node, 2 CPUs"
    nodes = [{"CPU": 8.0}, {"CPU": 8.0, "GPU": 1.0, "accelerator_type:H100": 1.0}]
    assert cluster_text(nodes) == "2 nodes, 16 CPUs, 1 GPUs (H100)"


def test_versions_are_those_in_use() -> None:
    import torch

    assert versions()["torch"] == torch.__version__.partition("+")[0]
    assert machine_text()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text("[{")
    with pytest.raises(ProvenanceError, match=r"made\.json can't be read"):
        read_processes(tmp_path / "made.json")
