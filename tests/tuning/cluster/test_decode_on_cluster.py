"""The cluster side runs in processes of its own: Ray settles how it talks to a cluster when it is imported."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.store.index import INDEX
from data.video.decode import DecodeSettings, decode_clip
from tests.helpers.video_files import moving_square, write_video

SETTINGS = DecodeSettings(frames=4, short_side=32)
PATHS = [f"{number}.mp4" for number in range(12)]
PROJECT = Path(__file__).parents[3]

CLUSTER_BUILDS = """
import pickle, sys
from pathlib import Path
from tuning.cluster.address import use_token_if_required
address, clips, root, out, builds = sys.argv[1], *map(Path, sys.argv[2:5]), eval(sys.argv[5])
use_token_if_required(address)
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from data.errors import DataError
from tuning.cluster.connect import connected
from tuning.cluster.decode import build_on_cluster
results = []
with connected(address, verbose=False):
    for folder, paths, seconds in builds:
        store = FrameStore(root / folder, DecodeSettings(frames=4, short_side=32))
        try:
            results.append(build_on_cluster(store, clips, paths, seconds_per_clip=seconds, progress=False))
        except DataError as error:
            results.append(str(error))
out.write_bytes(pickle.dumps(results))
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for number in range(12):
        write_video(root / f"{number}.mp4", moving_square(number))
    (root / "broken.mp4").write_bytes(b"no video at all")
    os.mkfifo(root / "hangs.mp4")  # Whoever reads a pipe waits for a writer, here for ever.
    return root


def on_cluster(address: str, clips: Path, root: Path, *builds: tuple[str, list[str], float]) -> list[BuildReport | str]:
    """Reports, or messages, of builds of folder, paths and time limit, one after another."""
    (root / "builds.py").write_text(CLUSTER_BUILDS)
    out = root / "results"
    arguments = [address, str(clips), str(root), str(out), repr(builds)]
    done = subprocess.run(
        [sys.executable, str(root / "builds.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return pickle.loads(out.read_bytes())


def test_a_cluster_builds_the_same_store_and_a_hang_costs_one_clip(
    ray_address: str, clips: Path, tmp_path: Path
) -> None:
    paths = [*PATHS, "broken.mp4", "gone.mp4"]
    spoilt = FrameStore(tmp_path / "spoilt", SETTINGS).folder
    spoilt.mkdir(parents=True)
    (spoilt / "tmp").touch()
    here = FrameStore(tmp_path / "here", SETTINGS).build(clips, paths, workers=1, progress=False)
    builds = [("there", paths, 60.0), ("there", paths, 60.0), ("hang", ["0.mp4", "hangs.mp4"], 3.0)]
    first, second, hang, refused = on_cluster(ray_address, clips, tmp_path, *builds, ("spoilt", PATHS, 60.0))
    assert first == here
    assert second == replace(here, decoded=0)
    store = FrameStore(tmp_path / "there", SETTINGS)
    frames = store.read(here.digests()["7.mp4"])
    np.testing.assert_array_equal(frames, decode_clip(clips / "7.mp4", SETTINGS).frames)
    assert (store.folder / INDEX).exists()
    assert isinstance(hang, BuildReport)
    assert [(clip.path, clip.reason) for clip in hang.failed] == [("hangs.mp4", "decoding took more than 3 s")]
    assert list(hang.digests()) == ["0.mp4"]
    assert isinstance(refused, str)
    assert "can't be written (File exists)" in refused


LOST_NODE = """
import os, pickle, sys, threading
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tuning.cluster.decode import build_on_cluster
clips, root, out, paths, pipe = *map(Path, sys.argv[1:4]), eval(sys.argv[4]), Path(sys.argv[5])

def reader():
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != os.getpid() and any(fd.resolve() == pipe for fd in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            pass
    raise AssertionError("nobody reads the pipe")

def parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])

def lose_the_node_that_reads_the_pipe():
    held.append(os.open(pipe, os.O_WRONLY))
    process = reader()
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
    while process not in raylets:
        process = parent(process)
    (pipe.parent / "whole").rename(pipe)
    cluster.remove_node(raylets[process], allow_graceful=False)
    lost.append(process)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
variables = {"PYTHONPATH": os.environ["PYTHONPATH"]}
ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": variables})
cluster.wait_for_nodes()
held, lost = [], []
killer = threading.Thread(target=lose_the_node_that_reads_the_pipe)
killer.start()
store = FrameStore(root / "store", DecodeSettings(frames=4, short_side=32))
report = build_on_cluster(store, clips, paths, progress=False)
killer.join()
os.close(held.pop())  # Not before: what the lost node's process then reads must count for nothing.
out.write_bytes(pickle.dumps((report, len(lost))))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_node_that_is_lost_costs_only_what_it_was_at(clips: Path, tmp_path: Path) -> None:
    """Two nodes; one is killed while its decoding process holds a clip: the other does that clip, too."""
    whole, pipe = clips / "whole", clips / "pipe.mp4"
    write_video(clips / "whole.mp4", moving_square(99)).rename(whole)
    os.mkfifo(pipe)
    (tmp_path / "lost.py").write_text(LOST_NODE)
    out, paths = tmp_path / "out", ["pipe.mp4", *PATHS]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "lost.py"), str(clips), str(tmp_path), str(out), repr(paths), str(pipe)],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    report, lost = pickle.loads(out.read_bytes())
    assert lost == 1
    assert report.failed == ()
    assert list(report.digests()) == paths
