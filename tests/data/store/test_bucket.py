"""Against a real S3 server on this machine."""

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
from data.loading.loaders import EvalDataset, eval_loader
from data.loading.sampling import FrameSelection
from data.loading.transforms import EvalTransform
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from data.store.index import INDEX
from data.video.decode import DecodeSettings, decode_clip
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
        """The entries that were downloaded, one for each time."""
        return re.findall(rf"GET /{bucket}/\S+/(\w+)\.npy HTTP", self.log.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    given = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    log = tmp_path_factory.mktemp("s3") / "log"
    with pytest.MonkeyPatch.context() as patch, log.open("w") as stream:
        for name, value in given.items():
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
    time.sleep(0.15)
    return root


@dataclass(frozen=True)
class Built:
    """A store in a bucket of its own, filled from one node."""

    server: Server
    bucket: str
    digests: dict[str, str]

    def store(self, local: Path) -> FrameStore:
        return FrameStore(self.server.root(self.bucket), SETTINGS, local)


@pytest.fixture
def built(server: Server, clips: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Built:
    bucket = re.sub(r"[^a-z]+", "-", request.node.name)[:40].strip("-")
    server.client().create_bucket(Bucket=bucket)
    report = FrameStore(server.root(bucket), SETTINGS, tmp_path / "first").build(
        clips, PATHS, workers=1, progress=False
    )
    assert report.decoded == len(PATHS)
    return Built(server, bucket, report.digests())


def test_another_node_finds_and_maps_what_the_first_stored(built: Built, clips: Path, tmp_path: Path) -> None:
    store = built.store(tmp_path / "second")
    again = store.build(clips, PATHS, workers=1, progress=False)
    assert (again.decoded, again.digests()) == (0, built.digests)
    assert built.server.entries_sent(built.bucket) == []
    frames = store.read(built.digests["2.mp4"])
    assert isinstance(frames, np.memmap)
    np.testing.assert_array_equal(frames, decode_clip(clips / "2.mp4", SETTINGS).frames)
    assert built.server.entries_sent(built.bucket) == [built.digests["2.mp4"]]


def test_the_builder_keeps_its_copies(built: Built, tmp_path: Path) -> None:
    store = built.store(tmp_path / "first")
    assert [store.read(digest).shape[0] for digest in built.digests.values()] == [4] * 4
    assert built.server.entries_sent(built.bucket) == []
    assert not [part for name in ("tmp", "staging") for part in (store.folder / name).rglob("*.npy")]


def test_loader_processes_of_a_node_fetch_each_entry_once(built: Built, tmp_path: Path) -> None:
    store = built.store(tmp_path / "second")
    labelled = [LabelledFrames(path, digest, 0) for path, digest in built.digests.items()]
    store.read(labelled[0].digest)  # The loader's processes are forked from one that has talked to the bucket.
    dataset = EvalDataset(labelled * 4, store, selection=FrameSelection(2), transform=EvalTransform(16))
    batches = list(eval_loader(dataset, batch_size=2, workers=2, pin_memory=False))
    assert len(batches) == 8
    assert sorted(built.server.entries_sent(built.bucket)) == sorted(built.digests.values())


def test_the_same_bytes_may_be_stored_by_two_processes_at_once(built: Built, tmp_path: Path) -> None:
    paths = [f"{number}.mp4" for number in range(12)]
    write_video(tmp_path / "copies/0.mp4", moving_square(50))
    for path in paths[1:]:
        shutil.copyfile(tmp_path / "copies/0.mp4", tmp_path / "copies" / path)
    report = built.store(tmp_path / "first").build(tmp_path / "copies", paths, workers=3, progress=False)
    assert (len(report.stored), len(set(report.digests().values()))) == (12, 1)


def test_without_its_index_a_store_is_known_by_its_entries(built: Built, clips: Path, tmp_path: Path) -> None:
    key = built.store(tmp_path / "first").folder.name
    built.server.client().delete_object(Bucket=built.bucket, Key=f"sweeps/{key}/{INDEX}")
    report = built.store(tmp_path / "second").build(clips, PATHS, workers=1, progress=False)
    assert (report.decoded, report.digests()) == (0, built.digests)


def test_damage_in_the_bucket_is_found_and_mended(built: Built, clips: Path, tmp_path: Path) -> None:
    store, digest = built.store(tmp_path / "second"), built.digests["1.mp4"]
    entry = f"sweeps/{store.folder.name}/{digest[:2]}/{digest}.npy"
    client = built.server.client()
    whole = client.get_object(Bucket=built.bucket, Key=entry)["Body"].read()
    client.put_object(Bucket=built.bucket, Key=entry, Body=whole[:-1])
    with pytest.raises(DataError, match=f"entry {digest} in s3://{built.bucket}/sweeps/.* is damaged"):
        store.read(digest)
    report = store.build(clips, PATHS, workers=1, progress=False)
    assert (report.decoded, report.repaired) == (1, ("1.mp4",))
    assert client.get_object(Bucket=built.bucket, Key=entry)["Body"].read() == whole


def test_what_a_bucket_lacks_is_named(built: Built, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"s3://{built.bucket}/sweeps/.* has no frames for digest abab.*: build it"):
        built.store(tmp_path / "second").read("ab" * 32)


def test_a_bucket_that_is_not_there_is_refused(server: Server, clips: Path, tmp_path: Path) -> None:
    store = FrameStore(server.root("nowhere"), SETTINGS, tmp_path)
    with pytest.raises(DataError, match="there is no bucket 'nowhere'; make it"):
        store.build(clips, PATHS, workers=1, progress=False)


def test_a_server_that_does_not_answer_is_refused_in_one_line(server: Server, clips: Path, tmp_path: Path) -> None:
    root = server.root("frames").replace(f":{server.port}", ":1")
    with pytest.raises(DataError, match="can't be reached .*: check its address, the credentials") as raised:
        FrameStore(root, SETTINGS, tmp_path).build(clips, PATHS, workers=1, progress=False)
    assert "\n" not in str(raised.value)


def test_a_bucket_needs_a_place_for_copies() -> None:
    with pytest.raises(DataError, match=r"s3://frames needs a local folder .*: set store\.local"):
        FrameStore("s3://frames", SETTINGS)


def test_an_address_of_no_known_kind_is_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'ftp://frames' is no address that can be used"):
        FrameStore("ftp://frames", SETTINGS, tmp_path).build(clips, PATHS, workers=1, progress=False)
