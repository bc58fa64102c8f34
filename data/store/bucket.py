"""Entries in a bucket: S3, or what else pyarrow's file systems reach by an address.

    s3://BUCKET/PREFIX?region=eu-central-1
    s3://BUCKET/PREFIX?scheme=http&endpoint_override=localhost:9000

Credentials come as AWS's own tools take them: from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or the
machine's role. An object is there when it is whole, so nothing is renamed; what keeps entries from being stored by
halves on their way is a staging folder on the builder's disk.
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
from data.store.entries import CorruptEntryError, Entry, EntryFolder
from data.store.index import INDEX, remove_index
from data.video.decode import ClipFacts


@dataclass(frozen=True, slots=True)
class Bucket:
    """A store's entries below an address."""

    root: str
    """Such as `s3://BUCKET/PREFIX`."""
    key: str
    """The store's key, the folder below it."""
    copies: EntryFolder
    """This node's copies; the builder's index lies beside them."""

    def check(self, digest: str, known: Entry | None, *, whole: bool) -> Entry:
        """As `EntryFolder.check`, but what the index knows is compared by size alone, whatever `whole` says.

        Buckets keep checksums of their own, and a copy is checked when it is fetched. What the index does not know is
        fetched.
        """
        size = self.size(digest)
        if known is None:
            with self.open(digest) as source:
                return self.copies.take(digest, source)
        if size != known.bytes:
            raise CorruptEntryError(f"it has {size} bytes instead of {known.bytes}")
        return known

    def put(self, digest: str, frames: np.ndarray, facts: ClipFacts) -> Entry:
        """Store a clip, and keep it as this node's copy.

        Raises:
            OSError: this node's disk is full, or the bucket can't be reached or written.
        """
        # One for each clip: the same bytes may be stored by two processes at once.
        staging = EntryFolder(self._staging / uuid.uuid4().hex)
        system, path = self._at(f"{digest[:2]}/{digest}.npy")
        try:
            entry = staging.put(digest, frames, facts)
            with staging.open(digest) as source, system.open_output_stream(path) as target:
                shutil.copyfileobj(source, target, 1 << 20)
            copy = self.copies.file(digest)
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging.file(digest), copy)
            return entry
        finally:
            shutil.rmtree(staging.folder, ignore_errors=True)

    @property
    def address(self) -> str:
        """For people."""
        return f"{self.root.partition('?')[0]}/{self.key}"

    def open(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """An entry's bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        system, path = self._at(f"{digest[:2]}/{digest}.npy")
        return system.open_input_stream(path)

    def size(self, digest: str) -> int:
        """Bytes of an entry.

        Raises:
            FileNotFoundError: there is none.
        """
        system, path = self._at(f"{digest[:2]}/{digest}.npy")
        info = system.get_file_info(path)
        if info.type != FileType.File:
            raise FileNotFoundError(path)
        return info.size

    def begin_build(self) -> None:
        """Fetch the index that the last builder left.

        Raises:
            DataError: the bucket can't be reached, or is not there.
        """
        self._clear_staging()
        system, path = self._at(INDEX)
        bucket = path.split("/", 1)[0]
        try:
            if system.get_file_info(bucket).type == FileType.NotFound:
                raise DataError(f"the frame store {self.root} can't be used: there is no bucket {bucket!r}; make it")
            if system.get_file_info(path).type != FileType.File:
                return
            index = self.copies.folder / INDEX
            remove_index(index)
            with system.open_input_stream(path) as source, index.open("wb") as target:
                shutil.copyfileobj(source, target)
        except (OSError, ArrowException) as error:
            raise DataError(
                f"the frame store {self.root} can't be reached ({_one_line(error)}): check its address, the "
                "credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and the endpoint"
            ) from None

    def end_build(self) -> None:
        """Leave the index for the next builder."""
        self._clear_staging()
        index = self.copies.folder / INDEX
        if not index.exists():
            return
        system, path = self._at(INDEX)
        try:
            with index.open("rb") as source, system.open_output_stream(path) as target:
                shutil.copyfileobj(source, target)
        except (OSError, ArrowException) as error:
            tqdm.write(f"note: the next build will read all clips again, the index can't be kept ({_one_line(error)})")

    @property
    def _staging(self) -> Path:
        return self.copies.folder / "staging"

    def _clear_staging(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)

    def _at(self, name: str) -> tuple[FileSystem, str]:
        system, base = _reach(self.root)
        return system, f"{base}/{self.key}/{name}"


@lru_cache
def _reach(root: str) -> tuple[FileSystem, str]:
    try:
        return FileSystem.from_uri(root)
    except (OSError, ArrowException) as error:
        raise DataError(f"the frame store {root!r} is no address that can be used ({_one_line(error)})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
