"""Checks of nodes before a sweep starts, some on a real cluster that has a node with a problem."""

from __future__ import annotations

import json
import os
import signal
from importlib import metadata
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.helpers.processes import call_in_new_process
from tuning.cluster.address import ClusterError
from tuning.cluster.connect import check_state_api
from tuning.cluster.node_checks import (
    NodeRequirements,
    SharedFolder,
    check_nodes,
    list_node_problems,
    marked_folders,
    node_requirements,
)


def check_faulty_cluster(folder: str) -> None:
    """Print the result of each check of a head and one node, as that node fails in one way after another."""
    results = {}

    def check(case: str, requirements: NodeRequirements, gpus: bool = False, seconds: float = 600.0) -> None:
        try:
            results[case] = f"checked {check_nodes(requirements, gpus=gpus, seconds=seconds)}"
        except ClusterError as error:
            results[case] = str(error)

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1, num_gpus=1)
    # Without the address the State API would use the cluster that was started last on this machine.
    environment = {"env_vars": {"RAY_ADDRESS": cluster.address}}
    ray.init(address=cluster.address, log_to_driver=False, runtime_env=environment)
    cluster.wait_for_nodes()
    with marked_folders([("runs_dir", Path(folder, "runs"))]) as marked:
        check("complete", node_requirements(marked))
    not_mounted = SharedFolder("runs_dir", f"{folder}/gone", "marker", writable=True)
    check("not mounted", node_requirements([not_mounted]))
    check("gpu", node_requirements([]), gpus=True)
    try:
        check_state_api()
    except ClusterError as error:
        results["state api"] = str(error)
    cluster.remove_node(node)

    os.environ["PYTHONPATH"] = f"{folder}/older:{os.environ['PYTHONPATH']}"
    older = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    check("older package", node_requirements([]))
    raylet = older.all_processes["raylet"][0].process.pid
    os.kill(raylet, signal.SIGSTOP)
    check("no answer", node_requirements([]), seconds=3.0)
    os.kill(raylet, signal.SIGKILL)
    cluster.remove_node(older, allow_graceful=False)
    check("left", node_requirements([]))
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(results))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("nodes")
    older = folder / "older" / "av-0.1.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: av\nVersion: 0.1\n")
    output = call_in_new_process(check_faulty_cluster, str(folder), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="a" * 64)
    assert not (folder / "runs").exists(), "the folder that was created is removed"
    return json.loads(output.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("complete", "checked 2"),
        (
            "not mounted",
            "node * does not have the folder of runs_dir, '*/gone': mount it there, at the same path as on the other *",
        ),
        ("gpu", "node * has 1 GPU(s) that torch can't use (*): update its driver, or set resources.gpus=0"),
        ("older package", f"node * has av 0.1, the sweep has {metadata.version('av')}: install requirements.txt *"),
        ("no answer", "node * has not answered for 3 s: find out why with 'ray status' *"),
        ("left", "checked 1"),
        (
            "state api",
            "resources.reuse_workers=false needs Ray's State API, which does not answer here (*): install "
            "'ray[default]' and start the head with --include-dashboard=true, or set resources.reuse_workers=true",
        ),
    ],
)
def test_error_names_the_node_its_problem_and_the_fix(results: dict[str, str], case: str, message: str) -> None:
    # A star stands for any text.
    parts = message.split("*")
    assert results[case].startswith(parts[0])
    assert results[case].endswith(parts[-1])
    assert all(part in results[case] for part in parts)
    assert "\n" not in results[case]


@pytest.fixture
def clips(tmp_path: Path) -> SharedFolder:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").touch()
    return SharedFolder("data.dir (--data)", str(tmp_path / "clips"), "a.mp4", writable=False)


def test_complete_node_has_no_problems(clips: SharedFolder, tmp_path: Path) -> None:
    copies = tmp_path / "deep/copies"
    with marked_folders([("runs_dir", tmp_path / "runs"), ("store.dir", tmp_path / "store")]) as marked:
        files, local_folders = [("weights_dir", str(tmp_path))], [("store.local", str(copies))]
        requirements = node_requirements([clips, *marked], files, local_folders)
        assert list_node_problems(requirements, gpus=0, runs_driver=False) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "deep"]


def test_each_problem_of_a_folder_or_file_has_a_message(clips: SharedFolder, tmp_path: Path) -> None:
    other = SharedFolder("data.dir (--data)", clips.path, "b.mp4", writable=False)
    # Not even root can write to /proc.
    read_only = SharedFolder("store.dir", "/proc", "version", writable=True)
    files, local_folders = [("weights of c3d", str(tmp_path / "c3d.pth"))], [("store.local", "/proc/x")]
    requirements = node_requirements([clips, other, read_only], files, local_folders)
    problems = list_node_problems(requirements, gpus=0, runs_driver=True)
    assert [problem.split("(")[0].rstrip() for problem in problems] == [
        "has another folder at the path of the folder of data.dir",
        "can't write to the folder of store.dir, '/proc'",
        f"does not have {str(tmp_path / 'c3d.pth')!r}",
        "can't write store.local to '/proc/x'",
    ]


def test_marked_folders_keeps_existing_files(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/first").touch()
    with marked_folders([("runs_dir", tmp_path / "runs")]) as (folder,):
        assert Path(folder.path, folder.marker).exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]


def test_folder_that_the_driver_cannot_write_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(ClusterError, match="^store.dir '.*/file/store' can't be written here: Not a directory")
    with refused, marked_folders([("store.dir", tmp_path / "file/store")]):
        pass
