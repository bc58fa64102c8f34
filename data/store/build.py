"""Build a frame store: find the clips that it has, decode the others, record both in the index."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import av
from filelock import FileLock, Timeout
from tqdm import tqdm

from data.errors import DataError
from data.store.backend import StorageBackend
from data.store.build_report import BuildReport, FailedClip, StoredClip
from data.store.entry_file import CorruptEntryError
from data.store.index import INDEX, CorruptIndexError, FileState, IndexRecord, StoreIndex, open_index, remove_index
from data.store.store_clip import ClipExecutor, ClipResult, PendingClip, StoreWriteError, store_clip
from data.video.decode import DecodeSettings

_DECODER = f"PyAV {av.__version__}"
"""Files that one version can't decode are tried again with another."""

_THREADS = 8
_CHUNK = 256
"""Clips that are looked up in the index together, and results between two commits."""


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """One store: where it is, and how its clips are decoded."""

    folder: Path
    """Holds the lock and the index of builds."""
    backend: StorageBackend
    """Holds the entries."""
    settings: DecodeSettings
    description: str
    """Written to `settings.json` for people; the program never reads it."""


def build_store(
    location: StoreLocation,
    data_dir: Path,
    paths: Sequence[str],
    executor: ClipExecutor,
    *,
    verify: bool,
    rehash: bool,
    progress: bool,
) -> BuildReport:
    """Store all clips; see `FrameStore.build_with`."""
    build = partial(_build, location, data_dir, paths, executor, verify=verify, rehash=rehash, progress=progress)
    index = location.folder / INDEX
    with _build_lock(location.folder):
        location.backend.begin_build()
        try:
            _write_description(location)
            try:
                return build()
            except CorruptIndexError as error:
                tqdm.write(
                    f"note: the index {index} is corrupt ({error}): creating a new one and hashing all clips again"
                )
                remove_index(index)
                return build()
        except sqlite3.OperationalError as error:
            raise DataError(f"the frame store's index {index} can't be written ({error}): free disk space") from None
        finally:
            location.backend.end_build()


def find_unrecorded(folder: Path, data_dir: Path, paths: Sequence[str]) -> list[str]:
    """Return the clips for which the index has neither an entry nor a failure; see `FrameStore.find_missing`."""
    if not (folder / INDEX).exists():
        return list(paths)

    def is_recorded(index: StoreIndex, pending: PendingClip) -> bool:
        state = _file_state(pending)
        record = index.lookup(pending.file, state, _DECODER) if state is not None else None
        return record is not None and (record.entry is not None or record.failure is not None)

    try:
        with open_index(folder / INDEX) as index:
            clips = _pending(data_dir, paths, range(len(paths)))
            return [pending.path for pending in clips if not is_recorded(index, pending)]
    except (CorruptIndexError, sqlite3.Error):
        return list(paths)


def recorded_digests(folder: Path, files: Iterable[Path]) -> dict[Path, str]:
    """Return the digests of files when a build last hashed them, whether or not they exist now.

    Args:
        folder: of the store.
        files: the files; those that no build has hashed are not in the result.
    """
    index = folder / INDEX
    if not index.is_file():
        return {}
    try:
        with _build_lock(folder), open_index(index) as opened:
            digests = {file: opened.digest(file) for file in files}
    except (CorruptIndexError, sqlite3.OperationalError, DataError):
        return {}  # The index may be lost at any time; and a store that can't be written can't be locked.
    return {file: digest for file, digest in digests.items() if digest is not None}


@contextmanager
def _build_lock(folder: Path) -> Iterator[None]:
    """Wait until no other process builds the store, and keep others from building it during the block."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tqdm.write(f"waiting for another process that is building {folder}")
            lock.acquire()
    except OSError as error:
        raise DataError(f"the frame store {folder} can't be written ({error.strerror}): set store.dir") from error
    try:
        yield
    finally:
        lock.release()


def _write_description(location: StoreLocation) -> None:
    file = location.folder / "settings.json"
    if not file.exists():
        try:
            file.write_text(location.description + "\n")
        except OSError as error:
            raise DataError(f"{file} can't be written ({error.strerror}): set store.dir") from error


@dataclass(slots=True)
class _Results:
    """Results of the clips so far."""

    clips: list[StoredClip | FailedClip | None]
    """By number; None if a clip has no result yet."""
    decoded: int = 0
    repaired: list[str] = field(default_factory=list)

    def add(self, result: ClipResult) -> None:
        self.clips[result.pending.number] = result.clip
        self.decoded += result.decoded
        if result.repaired:
            self.repaired.append(result.pending.path)

    def report(self) -> BuildReport:
        return BuildReport(
            stored=tuple(clip for clip in self.clips if isinstance(clip, StoredClip)),
            failed=tuple(clip for clip in self.clips if isinstance(clip, FailedClip)),
            decoded=self.decoded,
            repaired=tuple(sorted(self.repaired)),
        )


def _build(
    location: StoreLocation,
    data_dir: Path,
    paths: Sequence[str],
    executor: ClipExecutor,
    *,
    verify: bool,
    rehash: bool,
    progress: bool,
) -> BuildReport:
    results, missing = _Results([None] * len(paths)), list[int]()
    function = partial(store_clip, backend=location.backend, settings=location.settings, verify=verify)
    with (
        open_index(location.folder / INDEX) as index,
        tqdm(total=len(paths), desc="frames", unit="clip", disable=not progress) as bar,
    ):
        if rehash:
            missing.extend(range(len(paths)))
        else:
            clips = _pending(data_dir, paths, range(len(paths)))
            for pending, result in _find_unchanged(clips, index, location.backend, verify):
                if result is None:
                    missing.append(pending.number)
                else:
                    results.add(result)
                    bar.update()
        if missing:
            try:
                _collect(executor(function, _pending(data_dir, paths, missing)), index, results, bar)
            except StoreWriteError as error:
                raise _write_error(location.folder, error, results.clips.count(None)) from None
    return results.report()


def _pending(data_dir: Path, paths: Sequence[str], numbers: Iterable[int]) -> Iterator[PendingClip]:
    """Yield clips by their numbers; not a list, so that memory does not grow with their count."""
    return (PendingClip(number, paths[number], data_dir / paths[number]) for number in numbers)


def _find_unchanged(
    clips: Iterator[PendingClip], index: StoreIndex, backend: StorageBackend, verify: bool
) -> Iterator[tuple[PendingClip, ClipResult | None]]:
    """Yield each clip with its earlier result, or None if its file has changed or its entry is not intact."""
    # Threads, since this waits for disks, network file systems and checksums, all of which release the GIL.
    with ThreadPoolExecutor(_THREADS) as threads:
        while chunk := list(islice(clips, _CHUNK)):
            records = [
                index.lookup(pending.file, state, _DECODER) if state else None
                for pending, state in zip(chunk, threads.map(_file_state, chunk), strict=True)
            ]
            results = threads.map(partial(_earlier_result, backend, verify), chunk, records)
            yield from zip(chunk, results, strict=True)


def _file_state(pending: PendingClip) -> FileState | None:
    try:
        return FileState.of(pending.file)
    except OSError:
        return None


def _earlier_result(
    backend: StorageBackend, verify: bool, pending: PendingClip, record: IndexRecord | None
) -> ClipResult | None:
    """Return a clip's result according to the index, if its entry is still intact."""
    if record is None:
        return None
    if record.failure is not None:
        return ClipResult(pending, FailedClip(pending.path, *record.failure))
    try:
        entry = backend.check(record.digest, record.entry, verify=verify)
    except (OSError, CorruptEntryError):
        # A decoding process checks the entry again and repairs it.
        return None
    return ClipResult(pending, StoredClip(pending.path, record.digest, entry.facts))


def _collect(new_results: Generator[ClipResult, None, None], index: StoreIndex, results: _Results, bar: tqdm) -> None:
    """Add results as they arrive, to the index too."""
    with closing(new_results):
        for count, result in enumerate(new_results, start=1):
            results.add(result)
            _record(index, result)
            bar.update()
            if count % _CHUNK == 0:
                index.commit()


def _record(index: StoreIndex, result: ClipResult) -> None:
    """Record a result in the index, so that later builds need not read the file again."""
    if result.digest is None or result.state is None:
        return
    if isinstance(result.clip, StoredClip) and result.entry is not None:
        index.record_entry(result.digest, result.entry)
        index.record_file(result.pending.file, result.state, result.digest)
    elif isinstance(result.clip, FailedClip) and result.permanent:
        index.record_failure(result.digest, _DECODER, result.clip.defect, result.clip.reason)
        index.record_file(result.pending.file, result.state, result.digest)


def _write_error(folder: Path, error: StoreWriteError, num_left: int) -> DataError:
    free = shutil.disk_usage(folder).free
    return DataError(
        f"the frame store {folder} can't be written ({error.reason}): {num_left} clips are left, each needs about "
        f"{error.size / 1e6:.2f} MB, and {free / 1e6:.2f} MB are free; free disk space, set store.dir to another disk, "
        "or lower store.frames or store.short_side (clips stored so far are not lost)"
    )
