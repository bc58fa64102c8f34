"""The frame store: each clip is decoded once, for every trial, epoch and worker.

Layout: `ROOT/KEY/ab/abcd….npy`, one entry per clip (see `entry_file`); `ROOT/KEY/index.sqlite`, used only by builders;
`ROOT/KEY/settings.json`, for people. KEY is a hash of the decode settings and the decoder's version, an entry's name is
the SHA-256 of the video file. Therefore a changed clip or setting gets another entry, identical files share one, and
a killed build resumes where it stopped. Entries are written to a temporary file and renamed, so they are never partial.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.store.backend import StorageBackend
from data.store.build import StoreLocation, build_store, find_unrecorded, recorded_digests
from data.store.build_report import BuildReport
from data.store.entry_file import ENTRY_FORMAT, CorruptEntryError, map_frames
from data.store.entry_folder import EntryFolder
from data.store.node_cache import NodeCache
from data.store.store_clip import ClipExecutor, decode_locally
from data.video.decode import DECODER_VERSION, ClipFacts, DecodeSettings


@dataclass(frozen=True, slots=True)
class FrameStore:
    """Decoded frames of clips, in one root folder or bucket, for one set of decode settings."""

    root: Path | str
    """A folder, or the URI of a bucket (see `data.store.bucket`)."""
    settings: DecodeSettings
    local: Path | None = None
    """A folder on this node's own disk for copies of the entries that it reads. Required for a bucket; faster than a
    root on a network file system."""

    def __post_init__(self) -> None:
        if self.local is None and self._in_bucket:
            raise DataError(f"the frame store {self.root} needs a local folder for each node's copies: set store.local")

    @property
    def _in_bucket(self) -> bool:
        return "://" in str(self.root)

    @property
    def folder(self) -> Path:
        """The folder of the entries, or of their copies if the store is in a bucket; its name is the store's key."""
        root = self.local if self._in_bucket and self.local is not None else Path(self.root)
        return root / _key(self.settings)

    @property
    def _backend(self) -> StorageBackend:
        if self._in_bucket:
            # Imported late: pyarrow takes longer to import than everything else that training needs of the store.
            from data.store.bucket import Bucket

            return Bucket(str(self.root), _key(self.settings), EntryFolder(self.folder))
        return EntryFolder(self.folder)

    @property
    def _cache(self) -> NodeCache | None:
        if self.local is None:
            return None
        return NodeCache(self._backend, EntryFolder(self.local / _key(self.settings)))

    def read(self, digest: str) -> np.ndarray:
        """Return a clip's frames, uint8 `(F, H, W, 3)`, memory-mapped read-only: workers of a node share the pages.

        Raises:
            DataError: the store has no entry for this digest, the entry is corrupt, or it can't be copied to this node.
        """
        cache = self._cache
        file = EntryFolder(self.folder).file(digest) if cache is None else cache.file(digest)
        try:
            return map_frames(file)
        except FileNotFoundError:
            raise DataError(
                f"the frame store {self.folder} has no frames for digest {digest}: build the store again"
            ) from None
        except CorruptEntryError as error:
            remedy = "build the store again" if cache is None else "remove this copy"
            raise DataError(f"the frame store's entry {file} is corrupt ({error}): {remedy}") from None

    def fetch(self, digests: Iterable[str], *, progress: bool = True) -> int:
        """Copy the entries that this node lacks, so that later reads do not wait for the network.

        Each is copied once, even if several processes of a node call this concurrently.

        Args:
            digests: the entries.
            progress: show a progress bar.

        Returns:
            Bytes that this call copied; 0 for a store without `local`.

        Raises:
            DataError: see `read`.
        """
        cache = self._cache
        return cache.fetch(digests, progress=progress) if cache is not None else 0

    def find_missing(self, data_dir: Path, paths: Sequence[str]) -> list[str]:
        """Return the clips that a build would have to decode, according to the index alone; writes nothing.

        Args:
            data_dir: the folder to which `paths` are relative.
            paths: the clips, as POSIX paths.
        """
        return find_unrecorded(self.folder, data_dir, paths)

    def build(
        self,
        data_dir: Path,
        paths: Sequence[str],
        *,
        workers: int | None = None,
        seconds_per_clip: float = 300.0,
        verify: bool = True,
        rehash: bool = False,
        progress: bool = True,
    ) -> BuildReport:
        """Decode the clips that the store lacks, in parallel processes of this machine.

        A clip that crashes the decoder or exceeds the time limit fails alone. Concurrent builds of one store run one
        after the other, so that each clip is decoded once. Memory does not grow with the number of clips, except for
        the report.

        A file with unchanged size, times and inode is considered unchanged and is not read. This misses changes below
        the file system (a failing disk), and a change whose modification time was reset, on a file system that does
        not record the time of status changes.

        Args:
            data_dir: the folder to which `paths` are relative.
            paths: the clips, as POSIX paths.
            workers: number of processes; default: one per core.
            seconds_per_clip: time limit for decoding one clip.
            verify: compare the checksums of existing entries, rather than only their sizes, and decode clips with a
                corrupt entry again. In a bucket only sizes are compared; checksums are compared when an entry is
                copied to a node.
            rehash: read unchanged files too, and decode clips again that failed before.
            progress: show a progress bar.

        Raises:
            DataError: `workers` or `seconds_per_clip` is out of range, or the folder can't be written or is full;
                clips stored so far are not lost.
        """
        if workers is not None and workers < 1:
            raise DataError(f"workers is {workers}; give 1 or more")
        if not seconds_per_clip > 0:
            raise DataError(f"the time limit for one clip is {seconds_per_clip:g} s; give more than 0 s")
        workers = max(1, min(workers or os.cpu_count() or 1, len(paths)))
        executor = partial(decode_locally, workers=workers, seconds=seconds_per_clip)
        return self.build_with(executor, data_dir, paths, verify=verify, rehash=rehash, progress=progress)

    def build_with(
        self,
        executor: ClipExecutor,
        data_dir: Path,
        paths: Sequence[str],
        *,
        verify: bool = True,
        rehash: bool = False,
        progress: bool = True,
    ) -> BuildReport:
        """Like `build`, but decode clips with `executor`, which can use other machines."""
        location = StoreLocation(self.folder, self._backend, self.settings, _description(self.settings))
        return build_store(location, data_dir, paths, executor, verify=verify, rehash=rehash, progress=progress)

    def recorded_digests(self, data_dir: Path, paths: Sequence[str]) -> dict[str, str]:
        """Return the digests of clips when a build last read them, by path, whether or not the files exist now.

        Args:
            data_dir: the folder to which `paths` are relative; it need not exist any more.
            paths: the clips; those that no build has read are not in the result.
        """
        digests = recorded_digests(self.folder, [data_dir / path for path in paths])
        return {path: digests[data_dir / path] for path in paths if data_dir / path in digests}


@lru_cache
def _key(settings: DecodeSettings) -> str:
    return hashlib.sha256(_description(settings).encode()).hexdigest()[:16]


def _description(settings: DecodeSettings) -> str:
    """Return everything that determines the content of an entry, as JSON."""
    facts = [field.name for field in fields(ClipFacts)]
    versions = {"decoder": DECODER_VERSION, "entry": ENTRY_FORMAT, "facts": facts}
    return json.dumps({**versions, **asdict(settings)}, sort_keys=True)
