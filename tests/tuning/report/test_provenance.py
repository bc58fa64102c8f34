"""`made.json` keeps the processes of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tuning.report.provenance import (
    ProvenanceError,
    RunProcess,
    add_process,
    cluster_summary,
    end_process,
    package_versions,
    processor_name,
    read_processes,
    redacted_command,
)


def process(command: str) -> RunProcess:
    return RunProcess(
        command=command,
        started="2026-01-01T00:00:00+00:00",
        machine=processor_name(),
        cluster="1 node, 2 CPUs",
        versions=package_versions(),
        decoded=3,
        seconds_decoding=1.5,
    )


def test_only_the_last_process_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "made.json"
    assert read_processes(file) == []
    add_process(file, process("first"))
    add_process(file, process("second"))
    end_process(file, 12.5, max_concurrent=2)
    read = [(each.command, each.seconds_trials, each.max_concurrent) for each in read_processes(file)]
    assert read == [("first", None, None), ("second", 12.5, 2)]


def test_keys_in_the_file_are_those_of_older_runs(tmp_path: Path) -> None:
    file = tmp_path / "made.json"
    add_process(file, process("first"))
    end_process(file, 12.5, max_concurrent=2)
    (written,) = json.loads(file.read_text())
    keys = ["command", "started", "machine", "cluster", "versions", "decoded", "seconds_decoding"]
    assert list(written) == [*keys, "seconds_trials", "at_once"]
    assert written["at_once"] == 2


def test_command_is_quoted_for_a_shell_and_has_no_password() -> None:
    words = ["sweep", "--data", "my clips", "tracking.uri=postgresql://me:secret@host/db", "space.lr=[1e-3]"]
    assert redacted_command(words) == (
        "python -m tuning sweep --data 'my clips' tracking.uri=postgresql://me@host/db 'space.lr=[1e-3]'"
    )


def test_cluster_is_summarised_with_the_kinds_of_its_gpus() -> None:
    assert cluster_summary([{"CPU": 2.0}]) == "1 node, 2 CPUs"
    nodes = [{"CPU": 8.0}, {"CPU": 8.0, "GPU": 1.0, "accelerator_type:H100": 1.0}]
    assert cluster_summary(nodes) == "2 nodes, 16 CPUs, 1 GPUs (H100)"


def test_versions_are_those_in_use() -> None:
    assert package_versions()["torch"] == torch.__version__.partition("+")[0]
    assert processor_name()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text("[{")
    with pytest.raises(ProvenanceError, match=r"made\.json can't be read"):
        read_processes(tmp_path / "made.json")
