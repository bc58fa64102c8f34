"""Entries in a bucket: S3, or any other file system that pyarrow opens by its URI.

    s3://BUCKET/PREFIX?region=eu-central-1
    s3://BUCKET/PREFIX?scheme=http&endpoint_override=localhost:9000

Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role, as for AWS's own
tools. Objects appear in a bucket only once they are complete, so nothing is renamed there. An entry is first written to
a staging folder on the builder's disk, so that nothing is uploaded if that fails.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pyarrow import ArrowException
from pyarrow.fs import FileSystem, FileType
from tqdm import tqdm

from data.errors import DataError
from data.store.entry_file import CorruptEntryError, StoreEntry
from data.store.entry_folder import EntryFolder
from data.store.index import INDEX, remove_index
from data.video.decode import ClipFacts


@dataclass(frozen=True, slots=True)
class Bucket:
    """A storage backend: the objects of one store in a bucket."""

    root: str
    """URI of the root, such as `s3://BUCKET/PREFIX`."""
    key: str
    """The store's key: the name of its folder below the root."""
    cache: EntryFolder
    """This node's copies of entries; the folder also holds the index while a store is built."""

    @property
    def address(self) -> str:
        """See `StorageBackend`."""
        return f"{self.root.partition('?')[0]}/{self.key}"

    def check(self, digest: str, known: StoreEntry | None, *, verify: bool) -> StoreEntry:
        """See `StorageBackend`; `verify` has no effect.

        An entry in the index is compared by size: the bucket has checksums of its own, and entries are verified when
        they are copied to a node. An entry that is not in the index is copied to this node.
        """
        size = self.size(digest)
        if known is None:
            with self.open(digest) as source:
                return self.cache.copy_from(source, digest)
        if size != known.bytes:
            raise CorruptEntryError(f"it has {size} bytes instead of {known.bytes}")
        return known

    def put(self, digest: str, frames: np.ndarray, facts: ClipFacts) -> StoreEntry:
        """See `StorageBackend`; also keep the entry as this node's copy."""
        # A folder of its own: two processes can store identical clips concurrently.
        staging = EntryFolder(self._staging / uuid.uuid4().hex)
        system, path = self._entry(digest)
        try:
            entry = staging.put(digest, frames, facts)
            with staging.open(digest) as source, system.open_output_stream(path) as target:
                shutil.copyfileobj(source, target, 1 << 20)
            copy = self.cache.file(digest)
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging.file(digest), copy)
            return entry
        finally:
            shutil.rmtree(staging.folder, ignore_errors=True)

    def open(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """See `StorageBackend`."""
        system, path = self._entry(digest)
        return system.open_input_stream(path)

    def size(self, digest: str) -> int:
        """See `StorageBackend`."""
        system, path = self._entry(digest)
        info = system.get_file_info(path)
        if info.type != FileType.File:
            raise FileNotFoundError(path)
        return info.size

    def begin_build(self) -> None:
        """Download the index that the last build uploaded.

        Raises:
            DataError: the bucket does not exist or can't be reached.
        """
        self._remove_staging()
        system, path = self._object(INDEX)
        bucket = path.split("/", 1)[0]
        try:
            if system.get_file_info(bucket).type == FileType.NotFound:
                raise DataError(
                    f"the frame store {self.root} can't be used: the bucket {bucket!r} does not exist; create it"
                )
            if system.get_file_info(path).type != FileType.File:
                return
            index = self.cache.folder / INDEX
            remove_index(index)
            with system.open_input_stream(path) as source, index.open("wb") as target:
                shutil.copyfileobj(source, target)
        except (OSError, ArrowException) as error:
            raise DataError(
                f"the frame store {self.root} can't be reached ({_one_line(error)}): check its address, the "
                "credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and the endpoint"
            ) from None

    def end_build(self) -> None:
        """Upload the index for the next build."""
        self._remove_staging()
        index = self.cache.folder / INDEX
        if not index.exists():
            return
        system, path = self._object(INDEX)
        try:
            with index.open("rb") as source, system.open_output_stream(path) as target:
                shutil.copyfileobj(source, target)
        except (OSError, ArrowException) as error:
            tqdm.write(
                f"note: the frame store's index can't be uploaded ({_one_line(error)}): the next build reads all clips "
                "again"
            )

    @property
    def _staging(self) -> Path:
        return self.cache.folder / "staging"

    def _remove_staging(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)

    def _entry(self, digest: str) -> tuple[FileSystem, str]:
        return self._object(f"{digest[:2]}/{digest}.npy")

    def _object(self, name: str) -> tuple[FileSystem, str]:
        """Return the file system, and the path in it of a file of this store."""
        system, base = _file_system(self.root)
        return system, f"{base}/{self.key}/{name}"


@lru_cache
def _file_system(root: str) -> tuple[FileSystem, str]:
    """Return the file system of a URI, and the URI's path in it."""
    try:
        return FileSystem.from_uri(root)
    except (OSError, ArrowException) as error:
        raise DataError(
            f"the frame store's address {root!r} can't be used ({_one_line(error)}): give a folder or an address such "
            "as s3://BUCKET/PREFIX"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
