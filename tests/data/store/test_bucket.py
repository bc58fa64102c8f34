"""A store in a bucket, on a local S3 server (moto)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import numpy as np
import pytest
from botocore.client import BaseClient

from data.errors import DataError
from data.loading.frame_selection import FrameSelection
from data.loading.loaders import EvalDataset, eval_loader
from data.loading.transforms import EvalTransform
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from data.store.index import INDEX
from data.video.decode import DecodeSettings, decode_clip
from tests.helpers.frame_stores import build, wait_until_settled
from tests.helpers.video_files import moving_square, write_video

SETTINGS = DecodeSettings(frames=4, short_side=32)
PATHS = [f"{number}.mp4" for number in range(4)]


@dataclass(frozen=True)
class Server:
    port: int
    log: Path

    def root(self, bucket: str) -> str:
        return f"s3://{bucket}/sweeps?scheme=http&endpoint_override=127.0.0.1:{self.port}"

    def client(self) -> BaseClient:
        return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.port}")

    def entries_sent(self, bucket: str) -> list[str]:
        """Return the digests of the downloaded entries, one per download."""
        return re.findall(rf"GET /{bucket}/\S+/(\w+)\.npy HTTP", self.log.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    log = tmp_path_factory.mktemp("s3") / "log"
    with pytest.MonkeyPatch.context() as patch, log.open("w") as stream:
        for name, value in environment.items():
            patch.setenv(name, value)
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            while not (found := re.search(r"http://127.0.0.1:(\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield Server(int(found[1]), log)
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for number, path in enumerate(PATHS):
        write_video(root / path, moving_square(number))
    wait_until_settled(root.iterdir())
    return root


@dataclass(frozen=True)
class Built:
    """A store in a bucket of its own, built by one node."""

    server: Server
    bucket: str
    digests: dict[str, str]

    def store(self, local: Path) -> FrameStore:
        return FrameStore(self.server.root(self.bucket), SETTINGS, local)


@pytest.fixture
def built(server: Server, clips: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Built:
    bucket = re.sub(r"[^a-z]+", "-", request.node.name)[:40].strip("-")
    server.client().create_bucket(Bucket=bucket)
    report = build(FrameStore(server.root(bucket), SETTINGS, tmp_path / "first"), clips, PATHS)
    assert report.decoded == len(PATHS)
    return Built(server, bucket, report.digests())


def test_another_node_reads_entries_of_the_first(built: Built, clips: Path, tmp_path: Path) -> None:
    store = built.store(tmp_path / "second")
    again = build(store, clips, PATHS)
    assert (again.decoded, again.digests()) == (0, built.digests)
    assert built.server.entries_sent(built.bucket) == []
    frames = store.read(built.digests["2.mp4"])
    assert isinstance(frames, np.memmap)
    np.testing.assert_array_equal(frames, decode_clip(clips / "2.mp4", SETTINGS).frames)
    assert built.server.entries_sent(built.bucket) == [built.digests["2.mp4"]]


def test_builder_keeps_copies(built: Built, tmp_path: Path) -> None:
    store = built.store(tmp_path / "first")
    assert [store.read(digest).shape[0] for digest in built.digests.values()] == [4] * 4
    assert built.server.entries_sent(built.bucket) == []
    assert not [part for name in ("tmp", "staging") for part in (store.folder / name).rglob("*.npy")]


def test_loader_processes_fetch_each_entry_once(built: Built, tmp_path: Path) -> None:
    store = built.store(tmp_path / "second")
    labelled = [LabelledFrames(path, digest, 0) for path, digest in built.digests.items()]
    store.read(labelled[0].digest)  # The loader forks its processes from one that has a connection to the bucket.
    dataset = EvalDataset(labelled * 4, store, selection=FrameSelection(2), transform=EvalTransform(16))
    batches = list(eval_loader(dataset, batch_size=2, workers=2, pin_memory=False))
    assert len(batches) == 8
    assert sorted(built.server.entries_sent(built.bucket)) == sorted(built.digests.values())


def test_identical_clips_are_stored_concurrently(built: Built, tmp_path: Path) -> None:
    paths = [f"{number}.mp4" for number in range(12)]
    write_video(tmp_path / "copies/0.mp4", moving_square(50))
    for path in paths[1:]:
        shutil.copyfile(tmp_path / "copies/0.mp4", tmp_path / "copies" / path)
    report = built.store(tmp_path / "first").build(tmp_path / "copies", paths, workers=3, progress=False)
    assert (len(report.stored), len(set(report.digests().values()))) == (12, 1)


def test_lost_index_is_rebuilt_from_entries(built: Built, clips: Path, tmp_path: Path) -> None:
    key = built.store(tmp_path / "first").folder.name
    built.server.client().delete_object(Bucket=built.bucket, Key=f"sweeps/{key}/{INDEX}")
    report = build(built.store(tmp_path / "second"), clips, PATHS)
    assert (report.decoded, report.digests()) == (0, built.digests)


def test_corrupt_object_is_detected_and_repaired(built: Built, clips: Path, tmp_path: Path) -> None:
    store, digest = built.store(tmp_path / "second"), built.digests["1.mp4"]
    entry = f"sweeps/{store.folder.name}/{digest[:2]}/{digest}.npy"
    client = built.server.client()
    intact = client.get_object(Bucket=built.bucket, Key=entry)["Body"].read()
    client.put_object(Bucket=built.bucket, Key=entry, Body=intact[:-1])
    with pytest.raises(DataError, match=f"entry {digest} in s3://{built.bucket}/sweeps/.* is corrupt"):
        store.read(digest)
    report = build(store, clips, PATHS)
    assert (report.decoded, report.repaired) == (1, ("1.mp4",))
    assert client.get_object(Bucket=built.bucket, Key=entry)["Body"].read() == intact


def test_missing_entry_is_reported(built: Built, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"s3://{built.bucket}/sweeps/.* has no frames for digest abab.*: build"):
        built.store(tmp_path / "second").read("ab" * 32)


def test_missing_bucket_is_rejected(server: Server, clips: Path, tmp_path: Path) -> None:
    store = FrameStore(server.root("nowhere"), SETTINGS, tmp_path)
    with pytest.raises(DataError, match="the bucket 'nowhere' does not exist; create it"):
        build(store, clips, PATHS)


def test_unreachable_server_is_rejected_in_one_line(server: Server, clips: Path, tmp_path: Path) -> None:
    root = server.root("frames").replace(f":{server.port}", ":1")
    with pytest.raises(DataError, match="can't be reached .*: check its address, the credentials") as raised:
        build(FrameStore(root, SETTINGS, tmp_path), clips, PATHS)
    assert "\n" not in str(raised.value)


def test_bucket_without_local_folder_is_rejected() -> None:
    with pytest.raises(DataError, match=r"s3://frames needs a local folder .*: set store\.local"):
        FrameStore("s3://frames", SETTINGS)


def test_unknown_address_scheme_is_rejected(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'ftp://frames' can't be used"):
        build(FrameStore("ftp://frames", SETTINGS, tmp_path), clips, PATHS)
