"""The shared frame store: each clip decoded once, for every trial, epoch and worker.

Layout: `ROOT/KEY/settings.json`, `ROOT/KEY/ab/abcd….npy`, one array `(F, H, W, 3)` uint8 a clip, and `index.sqlite`,
which is for builders alone. KEY covers every decode setting and the decoder's version, an entry's name is the SHA-256
of the video's bytes. So a changed clip or setting is another entry, a clip that stands in two folders is stored once,
a killed build goes on where it was, and an entry is either whole or not there (written aside, then renamed).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import DataError
from data.store.build import ClipExecutor, StoreLocation, build_store, decode_locally
from data.store.build_report import BuildReport
from data.store.entries import ENTRY_FORMAT, CorruptEntryError, EntryFolder, map_frames
from data.store.node_cache import NodeCache
from data.video.decode import DECODER_VERSION, ClipFacts, DecodeSettings

if TYPE_CHECKING:
    from data.store.bucket import Bucket


@dataclass(frozen=True, slots=True)
class FrameStore:
    """Frames of clips under one root and one set of decode settings."""

    root: Path | str
    """A folder, or the address of a bucket (`data/store/bucket.py`)."""
    settings: DecodeSettings
    local: Path | None = None
    """A folder on this node's own disk where it keeps copies of what it reads. A bucket needs one; a root on a network
    file system is read faster by one."""

    def __post_init__(self) -> None:
        if self.local is None and self._in_bucket:
            raise DataError(f"the frame store {self.root} needs a local folder for each node's copies: set store.local")

    @property
    def _in_bucket(self) -> bool:
        return "://" in str(self.root)

    @property
    def folder(self) -> Path:
        """Where this store's entries lie, or their copies if it is in a bucket; its name is the key over all decode
        settings."""
        root = self.local if self._in_bucket and self.local is not None else Path(self.root)
        return root / _key(self.settings)

    @property
    def _shelf(self) -> EntryFolder | Bucket:
        if self._in_bucket:
            # Late, since pyarrow takes longer to import than all else that a training process needs of the store.
            from data.store.bucket import Bucket

            return Bucket(str(self.root), _key(self.settings), EntryFolder(self.folder))
        return EntryFolder(self.folder)

    @property
    def _copies(self) -> NodeCache | None:
        if self.local is None:
            return None
        return NodeCache(self._shelf, EntryFolder(self.local / _key(self.settings)))

    def read(self, digest: str) -> np.ndarray:
        """The clip's frames, uint8 `(F, H, W, 3)`, mapped read-only: workers of a node share the pages.

        Raises:
            DataError: the store has no entry for this digest, the entry is cut short or no entry at all, or this node
                can't copy it.
        """
        copies = self._copies
        file = EntryFolder(self.folder).file(digest) if copies is None else copies.file(digest)
        try:
            return map_frames(file)
        except FileNotFoundError:
            raise DataError(
                f"the frame store {self.folder} has no frames for digest {digest}: build it again"
            ) from None
        except CorruptEntryError as error:
            mend = "build the store again" if copies is None else "remove this copy"
            raise DataError(f"the frame store's entry {file} is damaged ({error}): {mend}") from None

    def fetch(self, digests: Iterable[str], *, progress: bool = True) -> int:
        """Copy to this node what it lacks of these entries, so that no later read waits for the network.

        Each is copied once, however many processes of a node call this.

        Returns:
            Bytes that this call copied; 0 for a store without `local`.

        Raises:
            DataError: as `read`.
        """
        copies = self._copies
        return copies.fetch(digests, progress=progress) if copies is not None else 0

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
        """ClipExecutor the clips that the store lacks, in parallel processes.

        A clip that crashes the decoder or takes longer than `seconds_per_clip` costs that clip alone. Two builds
        at once take turns, so that each clip is still decoded once. Memory does not grow with the clips, but for
        what the report tells of each.

        A file whose size, times and inode are as they were is taken for unchanged and not read. What that can't
        notice: bytes altered below the file system (a failing disk), or on one that keeps no time of change and
        had the time of writing set back.

        Args:
            data_dir: the folder to which `paths` are relative.
            paths: the clips, as POSIX paths.
            workers: processes; default: one a core.
            seconds_per_clip: time limit to decode one clip.
            verify: compare the checksums of the clips' entries, else their sizes alone; damaged ones are decoded anew.
                In a bucket it is always the sizes; there checksums are compared when an entry is copied to a node.
            rehash: read all files again, also those that look unchanged; those that could not be decoded are tried
                again.
            progress: show a bar.

        Raises:
            DataError: the store's folder can't be written, or its disk is full; clips stored so far are kept.
        """
        processes = max(1, min(workers or os.cpu_count() or 1, len(paths)))
        decode = partial(decode_locally, workers=processes, seconds=seconds_per_clip)
        return self.build_with(decode, data_dir, paths, verify=verify, rehash=rehash, progress=progress)

    def build_with(
        self,
        decode: ClipExecutor,
        data_dir: Path,
        paths: Sequence[str],
        *,
        verify: bool = True,
        rehash: bool = False,
        progress: bool = True,
    ) -> BuildReport:
        """As `build`, but clips are decoded by `decode`, perhaps on other machines."""
        place = StoreLocation(self.folder, self._shelf, self.settings, _description(self.settings))
        return build_store(place, data_dir, paths, decode, verify=verify, rehash=rehash, progress=progress)


@lru_cache
def _key(settings: DecodeSettings) -> str:
    return hashlib.sha256(_description(settings).encode()).hexdigest()[:16]


def _description(settings: DecodeSettings) -> str:
    """All on which an entry's content depends."""
    facts = [field.name for field in fields(ClipFacts)]
    versions = {"decoder": DECODER_VERSION, "entry": ENTRY_FORMAT, "facts": facts}
    return json.dumps({**versions, **asdict(settings)}, sort_keys=True)
