"""Filling a frame store: what of a folder it has already, what must be decoded, what can't be."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from data.errors import DataError
from data.files import file_sha256
from data.isolation import Lost, run_isolated
from data.store.build_report import BuildReport, FailedClip, StoredClip
from data.store.entries import CorruptEntryError, Entry
from data.store.index import INDEX, CorruptIndexError, FileState, IndexRecord, StoreIndex, open_index, remove_index
from data.video.container import UnusableClipError
from data.video.decode import ClipFacts, DecodeSettings, decode_clip

_DECODER = f"PyAV {av.__version__}"
"""Bytes that one version can't decode are tried again with another."""

_THREADS = 8
_AT_ONCE = 256
"""Clips looked up together."""


class StorageBackend(Protocol):
    """Where the entries of a store lie; can be pickled."""

    def check(self, digest: str, known: Entry | None, *, whole: bool) -> Entry:
        """See `EntryFolder.check`."""

    def put(self, digest: str, frames: np.ndarray, facts: ClipFacts) -> Entry:
        """See `EntryFolder.put`."""

    def begin_build(self) -> None:
        """Nobody else builds from now on."""

    def end_build(self) -> None:
        """The build has ended, well or not."""


class StoreWriteError(Exception):
    """The store takes no entry, which is not the clip's fault and ends the build."""

    def __init__(self, reason: str, size: int) -> None:
        super().__init__(reason, size)
        self.reason, self.size = reason, size
        """Size in bytes of the clip's frames."""


@dataclass(frozen=True, slots=True)
class PendingClip:
    """A clip to be hashed and, unless the store has it, decoded."""

    number: int
    path: str
    file: Path


@dataclass(frozen=True, slots=True)
class ClipResult:
    """What came of a clip."""

    job: PendingClip
    clip: StoredClip | FailedClip
    digest: str | None = None
    stamp: FileState | None = None
    """The state of the file in which it has this digest."""
    entry: Entry | None = None
    fresh: bool = False
    """Whether it was decoded just now."""
    repaired: bool = False
    """Whether it was decoded since its entry was damaged."""
    final: bool = False
    """Whether it failed for its bytes alone: decoding them again would be in vain."""


StoreClip = Callable[[PendingClip], ClipResult]
"""Can be pickled; raises StoreWriteError."""

ClipExecutor = Callable[[StoreClip, Iterable[PendingClip]], Generator[ClipResult, None, None]]
"""Applies the function to each job where it may crash; in any order, drawing jobs as needed."""


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """One store: a root under one set of decode settings."""

    folder: Path
    """Where the builder's lock and index lie."""
    shelf: StorageBackend
    settings: DecodeSettings
    description: str
    """For people who wonder what the folder holds; nothing reads it back."""


def decode_locally(
    store_clip: StoreClip, jobs: Iterable[PendingClip], *, workers: int, seconds: float
) -> Generator[ClipResult, None, None]:
    """ClipExecutor in parallel processes of this machine; one that hangs for `seconds` or crashes costs its clip."""
    for job, done in run_isolated(store_clip, jobs, workers=workers, seconds=seconds):
        if isinstance(done, Lost):
            done = ClipResult(job, FailedClip(job.path, "unreadable", f"decoding {done.reason}"))
        yield done


def build_store(
    place: StoreLocation,
    data_dir: Path,
    paths: Sequence[str],
    decode: ClipExecutor,
    *,
    verify: bool,
    rehash: bool,
    progress: bool,
) -> BuildReport:
    """See `FrameStore.build_with`."""
    build = partial(_build, place, data_dir, paths, decode, verify=verify, rehash=rehash, progress=progress)
    index = place.folder / INDEX
    with _one_builder(place.folder):
        place.shelf.begin_build()
        try:
            _describe(place)
            try:
                return build()
            except CorruptIndexError as error:
                tqdm.write(f"the index {index} is damaged ({error}): a new one is begun, clips are hashed again")
                remove_index(index)
                return build()
        except sqlite3.OperationalError as error:
            raise DataError(f"the frame store's index {index} can't be written ({error}): make room") from None
        finally:
            place.shelf.end_build()


@contextmanager
def _one_builder(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tqdm.write(f"another process is building {folder}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise DataError(f"the frame store {folder} can't be written ({error.strerror}): set store.dir") from error
    try:
        yield
    finally:
        lock.release()


def _describe(place: StoreLocation) -> None:
    file = place.folder / "settings.json"
    if not file.exists():
        try:
            file.write_text(place.description + "\n")
        except OSError as error:
            raise DataError(f"{file} can't be written ({error.strerror}): set store.dir") from error


def _cannot_store(folder: Path, error: StoreWriteError, left: int) -> DataError:
    free = shutil.disk_usage(folder).free
    return DataError(
        f"the frame store {folder} can't take another clip ({error.reason}): {left} clips are left, each needs about "
        f"{error.size / 1e6:.2f} MB, and {free / 1e6:.2f} MB are free; make room, set store.dir to another disk, or "
        "lower store.frames or store.short_side (clips stored so far are kept)"
    )


@dataclass(slots=True)
class _Tally:
    clips: list[StoredClip | FailedClip | None]
    decoded: int = 0
    repaired: list[str] = field(default_factory=list)

    def add(self, done: ClipResult) -> None:
        self.clips[done.job.number] = done.clip
        self.decoded += done.fresh
        if done.repaired:
            self.repaired.append(done.job.path)

    def report(self) -> BuildReport:
        return BuildReport(
            stored=tuple(clip for clip in self.clips if isinstance(clip, StoredClip)),
            failed=tuple(clip for clip in self.clips if isinstance(clip, FailedClip)),
            decoded=self.decoded,
            repaired=tuple(sorted(self.repaired)),
        )


def _build(
    place: StoreLocation,
    data_dir: Path,
    paths: Sequence[str],
    decode: ClipExecutor,
    *,
    verify: bool,
    rehash: bool,
    progress: bool,
) -> BuildReport:
    tally, missing = _Tally([None] * len(paths)), list[int]()
    store_clip = partial(_store_clip, shelf=place.shelf, settings=place.settings, verify=verify)
    with (
        open_index(place.folder / INDEX) as index,
        tqdm(total=len(paths), desc="frames", unit="clip", disable=not progress) as bar,
    ):
        for job, known in _recall(_jobs(data_dir, paths, range(len(paths))), index, place.shelf, verify, rehash):
            if known is None:
                missing.append(job.number)
            else:
                tally.add(known)
                bar.update()
        if missing:
            try:
                _take(decode(store_clip, _jobs(data_dir, paths, missing)), index, tally, bar)
            except StoreWriteError as error:
                raise _cannot_store(place.folder, error, tally.clips.count(None)) from None
    return tally.report()


def _take(results: Generator[ClipResult, None, None], index: StoreIndex, tally: _Tally, bar: tqdm) -> None:
    with closing(results):
        for count, done in enumerate(results, start=1):
            tally.add(done)
            _note(index, done)
            bar.update()
            if count % _AT_ONCE == 0:
                index.commit()


def _jobs(data_dir: Path, paths: Sequence[str], numbers: Iterable[int]) -> Iterator[PendingClip]:
    return (PendingClip(number, paths[number], data_dir / paths[number]) for number in numbers)


def _recall(
    jobs: Iterator[PendingClip], index: StoreIndex, shelf: StorageBackend, verify: bool, rehash: bool
) -> Iterator[tuple[PendingClip, ClipResult | None]]:
    """For each clip what came of it before, if its file is unchanged and its entry whole."""
    # Threads, since this waits for disks, network file systems and checksums, which all let other threads run.
    with ThreadPoolExecutor(_THREADS) as threads:
        while chunk := list(islice(jobs, _AT_ONCE)):
            if rehash:
                yield from ((job, None) for job in chunk)
                continue
            recalled = [
                index.lookup(job.file, stamp, _DECODER) if stamp else None
                for job, stamp in zip(chunk, threads.map(_stamp, chunk), strict=True)
            ]
            yield from zip(chunk, threads.map(partial(_still_there, shelf, verify), chunk, recalled), strict=True)


def _stamp(job: PendingClip) -> FileState | None:
    try:
        return FileState.of(job.file)
    except OSError:
        return None


def _still_there(
    shelf: StorageBackend, verify: bool, job: PendingClip, recalled: IndexRecord | None
) -> ClipResult | None:
    if recalled is None:
        return None
    if recalled.failure is not None:
        return ClipResult(job, FailedClip(job.path, *recalled.failure))
    try:
        entry = shelf.check(recalled.digest, recalled.entry, whole=verify)
    except (OSError, CorruptEntryError):
        # It will be looked at again, where it can be mended.
        return None
    return ClipResult(job, StoredClip(job.path, recalled.digest, entry.facts))


def _store_clip(job: PendingClip, *, shelf: StorageBackend, settings: DecodeSettings, verify: bool) -> ClipResult:
    """Runs in a decoding process: hashes the clip and, unless the store has it, decodes it into the store.

    Raises:
        StoreWriteError: the entry can't be written.
    """
    digest = stamp = None
    try:
        stamp = FileState.of(job.file)
        digest = file_sha256(job.file)
        entry, damaged = _look(shelf, digest, verify)
        if entry is not None:
            return ClipResult(job, StoredClip(job.path, digest, entry.facts), digest, stamp, entry)
        decoded = decode_clip(job.file, settings)
        if not FileState.of(job.file).same(stamp):
            return _failed(job, "it changed while it was read")
    except UnusableClipError as error:
        failed = FailedClip(job.path, error.defect, str(error))
        return ClipResult(job, failed, digest, stamp, final=stamp is not None and stamp.same(FileState.of(job.file)))
    except OSError as error:
        return _failed(job, f"it can't be read: {error.strerror}")
    except Exception as error:
        # What nobody foresaw in one file must not cost all the others.
        return _failed(job, " ".join(f"the decoder failed ({type(error).__name__}: {error})".split()))
    try:
        entry = shelf.put(digest, decoded.frames, decoded.facts)
    except OSError as error:
        raise StoreWriteError(error.strerror or str(error), decoded.frames.nbytes) from None
    clip = StoredClip(job.path, digest, decoded.facts)
    return ClipResult(job, clip, digest, stamp, entry, fresh=True, repaired=damaged)


def _failed(job: PendingClip, reason: str) -> ClipResult:
    return ClipResult(job, FailedClip(job.path, "unreadable", reason))


def _look(shelf: StorageBackend, digest: str, verify: bool) -> tuple[Entry | None, bool]:
    """The entry if it is there and whole; and whether it is there but damaged."""
    try:
        return shelf.check(digest, None, whole=verify), False
    except FileNotFoundError:
        return None, False
    except (CorruptEntryError, OSError):
        return None, True


def _note(index: StoreIndex, done: ClipResult) -> None:
    if done.digest is None or done.stamp is None:
        return
    if isinstance(done.clip, StoredClip) and done.entry is not None:
        index.record_entry(done.digest, done.entry)
        index.record_file(done.job.file, done.stamp, done.digest)
    elif isinstance(done.clip, FailedClip) and done.final:
        index.record_failure(done.digest, _DECODER, done.clip.defect, done.clip.reason)
        index.record_file(done.job.file, done.stamp, done.digest)
