from __future__ import annotations

import os
import pickle
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from data.errors import DataError
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.store.index import INDEX
from data.video.decode import DecodeSettings, decode_clip
from tests.faults.clusters import parent_pid, readers
from tests.helpers.processes import PROJECT, call_in_new_process
from tests.helpers.video_files import moving_square, write_video
from tuning.cluster.connect import connected
from tuning.cluster.decode import build_on_cluster

SETTINGS = DecodeSettings(frames=4, short_side=32)
PATHS = [f"{number}.mp4" for number in range(12)]
HANG_SECONDS = 10.0


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for number in range(12):
        write_video(root / f"{number}.mp4", moving_square(number))
    (root / "broken.mp4").write_bytes(b"no video at all")
    os.mkfifo(root / "hangs.mp4")  # A process that reads a pipe waits for a writer, here for ever.
    return root


def run_builds(address: str, clips: str, root: str, builds: list[tuple[str, list[str], float]]) -> None:
    """Build stores one after another, given by folder, paths and time limit; write reports or errors to `results`."""
    results = list[BuildReport | str]()
    with connected(address, verbose=False):
        for folder, paths, seconds in builds:
            store = FrameStore(Path(root, folder), SETTINGS)
            try:
                results.append(build_on_cluster(store, Path(clips), paths, seconds_per_clip=seconds, progress=False))
            except DataError as error:
                results.append(str(error))
    Path(root, "results").write_bytes(pickle.dumps(results))


@pytest.mark.slow
def test_cluster_builds_the_same_store_and_a_hang_fails_one_clip(ray_address: str, clips: Path, tmp_path: Path) -> None:
    paths = [*PATHS, "broken.mp4", "gone.mp4"]
    not_writable = FrameStore(tmp_path / "not_writable", SETTINGS).folder
    not_writable.mkdir(parents=True)
    (not_writable / "tmp").touch()
    local = FrameStore(tmp_path / "local", SETTINGS).build(clips, paths, workers=1, progress=False)
    builds = [
        ("cluster", paths, 600.0),
        ("cluster", paths, 600.0),
        ("hang", ["0.mp4", "hangs.mp4"], HANG_SECONDS),
        ("not_writable", PATHS, 600.0),
    ]
    call_in_new_process(run_builds, ray_address, str(clips), str(tmp_path), builds, RAY_AUTH_MODE="token")
    first, second, hang, refused = pickle.loads((tmp_path / "results").read_bytes())
    assert first == local
    assert second == replace(local, decoded=0)
    store = FrameStore(tmp_path / "cluster", SETTINGS)
    frames = store.read(local.digests()["7.mp4"])
    np.testing.assert_array_equal(frames, decode_clip(clips / "7.mp4", SETTINGS).frames)
    assert (store.folder / INDEX).exists()
    assert isinstance(hang, BuildReport)
    assert [(clip.path, clip.reason) for clip in hang.failed] == [("hangs.mp4", "decoding took more than 10 s")]
    assert list(hang.digests()) == ["0.mp4"]
    assert isinstance(refused, str)
    assert "can't be written (File exists)" in refused


def build_while_a_node_dies(clips: str, root: str, paths: list[str], pipe: str) -> None:
    """Build a store on two nodes; kill the one whose decoding process reads the pipe. Writes `result`."""
    held, killed = list[int](), list[int]()

    def kill_the_node_that_reads_the_pipe() -> None:
        held.append(os.open(pipe, os.O_WRONLY))
        (process,) = set(readers(Path(pipe))) - {os.getpid()}
        raylets = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
        while process not in raylets:
            process = parent_pid(process)
        Path(pipe).with_name("whole").rename(pipe)
        cluster.remove_node(raylets[process], allow_graceful=False)
        killed.append(process)

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    environment = {"env_vars": {"PYTHONPATH": str(PROJECT)}}
    ray.init(address=cluster.address, log_to_driver=False, runtime_env=environment)
    cluster.wait_for_nodes()
    killer = threading.Thread(target=kill_the_node_that_reads_the_pipe)
    killer.start()
    report = build_on_cluster(FrameStore(Path(root, "store"), SETTINGS), Path(clips), paths, progress=False)
    killer.join()
    # Closed only now: what the killed node's process reads then must not count.
    os.close(held.pop())
    Path(root, "result").write_bytes(pickle.dumps((report, len(killed))))
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_clips_of_a_node_that_dies_are_decoded_on_another(clips: Path, tmp_path: Path) -> None:
    whole, pipe = clips / "whole", clips / "pipe.mp4"
    write_video(clips / "whole.mp4", moving_square(99)).rename(whole)
    os.mkfifo(pipe)
    paths = ["pipe.mp4", *PATHS]
    arguments = str(clips), str(tmp_path), paths, str(pipe)
    call_in_new_process(build_while_a_node_dies, *arguments, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="a" * 64)
    report, killed = pickle.loads((tmp_path / "result").read_bytes())
    assert killed == 1
    assert report.failed == ()
    assert list(report.digests()) == paths
