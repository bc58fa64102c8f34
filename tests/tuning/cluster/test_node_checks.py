"""Nodes are asked before a sweep starts; a real cluster, one node of which lacks what the others have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tuning.cluster.address import ClusterError
from tuning.cluster.node_checks import Folder, missing_here, needs, witnesses

PROJECT = Path(__file__).parents[3]

ASKED = """
import json, os, signal, sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from tuning.cluster.node_checks import Folder, check_nodes, needs, witnesses
from tuning.cluster.address import ClusterError

place = Path(sys.argv[1])
answers = {}

def ask(case, what, gpus=False, seconds=120.0):
    try:
        answers[case] = f"asked {check_nodes(what, gpus=gpus, seconds=seconds)}"
    except ClusterError as error:
        answers[case] = str(error)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
whole = cluster.add_node(num_cpus=1, num_gpus=1)
ray.init(address=cluster.address, log_to_driver=False)
cluster.wait_for_nodes()
with witnesses([("runs_dir", place / "runs")]) as written:
    ask("whole", needs(written))
ask("unmounted", needs([Folder("runs_dir", str(place / "gone"), "seen", written=True)]))
ask("gpu", needs([]), gpus=True)
cluster.remove_node(whole)

os.environ["PYTHONPATH"] = f"{place / 'older'}:{os.environ['PYTHONPATH']}"
older = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
ask("older", needs([]))
raylet = older.all_processes["raylet"][0].process.pid
os.kill(raylet, signal.SIGSTOP)
ask("silent", needs([]), seconds=3.0)
os.kill(raylet, signal.SIGKILL)
cluster.remove_node(older, allow_graceful=False)
ask("left", needs([]))
print(json.dumps(answers))
ray.shutdown()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of a cluster of a head and one node, as that node fails in one way after another."""
    place = tmp_path_factory.mktemp("asked")
    (place / "asked.py").write_text(ASKED)
    older = place / "older" / "av-0.1.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: av\nVersion: 0.1\n")
    done = subprocess.run(
        [sys.executable, str(place / "asked.py"), str(place)],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert not (place / "runs").exists(), "nothing is left behind"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ("whole", "asked 2"),
        ("unmounted", "node * does not see the folder of runs_dir, '*/gone': mount it there, at the same path as *"),
        ("gpu", "node * has 1 GPU(s) that torch can't use (*): mend its driver, or set resources.gpus=0"),
        ("older", f"node * has av 0.1, the sweep has {metadata.version('av')}: install requirements.txt there, *"),
        ("silent", "node * has not answered for 3 s: see what holds it up *"),
        ("left", "asked 1"),
    ],
)
def test_what_a_node_lacks_is_named_with_its_mend(answers: dict[str, str], case: str, answer: str) -> None:
    # A star stands for anything; all else stands for itself.
    parts = answer.split("*")
    assert answers[case].startswith(parts[0])
    assert answers[case].endswith(parts[-1])
    assert all(part in answers[case] for part in parts)
    assert "\n" not in answers[case]


@pytest.fixture
def clips(tmp_path: Path) -> Folder:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").touch()
    return Folder("data.dir (--data)", str(tmp_path / "clips"), "a.mp4", written=False)


def test_a_node_that_has_all_lacks_nothing(clips: Folder, tmp_path: Path) -> None:
    copies = tmp_path / "deep/copies"
    with witnesses([("runs_dir", tmp_path / "runs"), ("store.dir", tmp_path / "store")]) as written:
        what = needs([clips, *written], [("weights_dir", str(tmp_path))], [("store.local", str(copies))])
        assert missing_here(what, gpus=0, with_driver=False) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "deep"]


def test_each_fault_of_a_folder_is_told_apart(clips: Folder, tmp_path: Path) -> None:
    other = Folder("data.dir (--data)", clips.path, "b.mp4", written=False)
    # Not even root writes there.
    closed = Folder("store.dir", "/proc", "version", written=True)
    what = needs([clips, other, closed], [("weights of c3d", str(tmp_path / "c3d.pth"))], [("store.local", "/proc/x")])
    faults = missing_here(what, gpus=0, with_driver=True)
    assert [fault.split("(")[0].rstrip() for fault in faults] == [
        "has another folder in place of the folder of data.dir",
        "can't write to the folder of store.dir, '/proc'",
        f"does not see {str(tmp_path / 'c3d.pth')!r}",
        "can't keep store.local in '/proc/x'",
    ]


def test_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/first").touch()
    with witnesses([("runs_dir", tmp_path / "runs")]) as (folder,):
        assert Path(folder.path, folder.witness).exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]


def test_a_folder_that_the_driver_itself_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(ClusterError, match="^store.dir '.*/file/store' can't be written here: Not a directory")
    with refused, witnesses([("store.dir", tmp_path / "file/store")]):
        pass
