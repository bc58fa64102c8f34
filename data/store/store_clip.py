"""Store one clip in a decoding process, and run such processes on this machine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from data.files import file_sha256
from data.isolation import CallFailure, run_isolated
from data.store.backend import StorageBackend
from data.store.build_report import FailedClip, StoredClip
from data.store.entry_file import CorruptEntryError, StoreEntry
from data.store.index import FileState
from data.video.container import UnusableClipError
from data.video.decode import DecodeSettings, decode_clip


class StoreWriteError(Exception):
    """The store can't be written, which is not the clip's fault and ends the build."""

    def __init__(self, reason: str, size: int) -> None:
        super().__init__(reason, size)
        self.reason, self.size = reason, size
        """Why, and the size of the clip's frames in bytes."""


@dataclass(frozen=True, slots=True)
class PendingClip:
    """A clip to hash and, unless it is in the store, to decode."""

    number: int
    """Position among the clips of the build."""
    path: str
    """See `Clip`."""
    file: Path


@dataclass(frozen=True, slots=True)
class ClipResult:
    """The result of hashing, decoding and storing a clip."""

    pending: PendingClip
    clip: StoredClip | FailedClip
    digest: str | None = None
    state: FileState | None = None
    """The state of the file when it was hashed."""
    entry: StoreEntry | None = None
    decoded: bool = False
    """Whether it was decoded now."""
    repaired: bool = False
    """Whether it was decoded because its entry was corrupt."""
    permanent: bool = False
    """Whether it failed because of the file's content, so that decoding it again would fail too."""


StoreClip = Callable[[PendingClip], ClipResult]
"""Hashes, decodes and stores one clip; can be pickled; raises StoreWriteError."""

ClipExecutor = Callable[[StoreClip, Iterable[PendingClip]], Generator[ClipResult, None, None]]
"""Calls the function for each clip in processes that may crash; draws clips as needed, returns results in any order."""


def decode_locally(
    function: StoreClip, clips: Iterable[PendingClip], *, workers: int, seconds: float
) -> Generator[ClipResult, None, None]:
    """Yield the results of a function for clips, called in parallel processes of this machine; a `ClipExecutor`.

    Args:
        function: see `StoreClip`.
        clips: drawn as processes become free.
        workers: number of processes.
        seconds: time limit per clip; a clip that takes longer or crashes its process fails alone.
    """
    for pending, result in run_isolated(function, clips, workers=workers, seconds=seconds):
        if isinstance(result, CallFailure):
            result = _unreadable(pending, f"decoding {result.reason}")
        yield result


def store_clip(pending: PendingClip, *, backend: StorageBackend, settings: DecodeSettings, verify: bool) -> ClipResult:
    """Hash a clip and, unless the store has an intact entry for it, decode and store it.

    Args:
        pending: the clip.
        backend: where to store it.
        settings: how to decode it.
        verify: compare the checksum of an existing entry.

    Raises:
        StoreWriteError: the entry can't be written.
    """
    digest = state = None
    try:
        state = FileState.of(pending.file)
        digest = file_sha256(pending.file)
        entry, corrupt = _find_entry(backend, digest, verify)
        if entry is not None:
            return ClipResult(pending, StoredClip(pending.path, digest, entry.facts), digest, state, entry)
        decoded = decode_clip(pending.file, settings)
        if not FileState.of(pending.file).unchanged(state):
            return _unreadable(pending, "it changed while it was read")
    except UnusableClipError as error:
        failed = FailedClip(pending.path, error.defect, str(error))
        permanent = state is not None and state.unchanged(FileState.of(pending.file))
        return ClipResult(pending, failed, digest, state, permanent=permanent)
    except OSError as error:
        return _unreadable(pending, f"it can't be read: {error.strerror}")
    except Exception as error:
        # An unexpected error in one file must not end the build.
        return _unreadable(pending, " ".join(f"the decoder failed ({type(error).__name__}: {error})".split()))
    try:
        entry = backend.put(digest, decoded.frames, decoded.facts)
    except OSError as error:
        raise StoreWriteError(error.strerror or str(error), decoded.frames.nbytes) from None
    clip = StoredClip(pending.path, digest, decoded.facts)
    return ClipResult(pending, clip, digest, state, entry, decoded=True, repaired=corrupt)


def _unreadable(pending: PendingClip, reason: str) -> ClipResult:
    return ClipResult(pending, FailedClip(pending.path, "unreadable", reason))


def _find_entry(backend: StorageBackend, digest: str, verify: bool) -> tuple[StoreEntry | None, bool]:
    """Return the entry if it exists and is intact, and whether it exists but is corrupt."""
    try:
        return backend.check(digest, None, verify=verify), False
    except FileNotFoundError:
        return None, False
    except (CorruptEntryError, OSError):
        return None, True
