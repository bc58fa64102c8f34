"""The shared frame store: each clip decoded once, for every trial, epoch and worker.

Layout: `ROOT/KEY/settings.json` and `ROOT/KEY/ab/abcd….npy`, one array `(F, H, W, 3)` uint8 a clip. KEY covers
every decode setting and the decoder's version, the file name is the SHA-256 of the video's bytes. So a changed
clip or setting is another entry, a clip that stands in two folders is stored once, a killed build goes on where
it was, and an entry is either whole or not there (written aside, then renamed).
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from pebble import ProcessExpired, ProcessPool
from tqdm import tqdm

from data.clips import Clip
from data.decode import DECODER_VERSION, ClipFacts, DecodeSettings, UnusableClip, decode_clip
from data.errors import DataError


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip whose frames are in the store."""

    path: str
    digest: str
    """SHA-256 of the video file's bytes, hexadecimal."""
    facts: ClipFacts


@dataclass(frozen=True, slots=True)
class FailedClip:
    """A clip that gives no frames."""

    path: str
    defect: str
    """The defect's name, such as `unreadable`."""
    reason: str


@dataclass(frozen=True, slots=True)
class LabelledFrames:
    """A clip as training sees it: its frames by digest, its class by index."""

    clip_id: str
    digest: str
    label: int


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build found and did."""

    stored: tuple[StoredClip, ...]
    failed: tuple[FailedClip, ...]
    decoded: int
    """Clips decoded by this build; the others were in the store."""

    def digests(self) -> dict[str, str]:
        """Clip path to digest, for the clips that have frames."""
        return {clip.path: clip.digest for clip in self.stored}

    def labelled(self, clips: Iterable[Clip], classes: Sequence[str]) -> list[LabelledFrames]:
        """Those of the clips that have frames, with their label as its index in `classes`."""
        digests, index = self.digests(), {name: i for i, name in enumerate(classes)}
        return [LabelledFrames(c.path, digests[c.path], index[c.label]) for c in clips if c.path in digests]


@dataclass(frozen=True, slots=True)
class FrameStore:
    """Frames of clips under one root and one set of decode settings."""

    root: Path
    settings: DecodeSettings

    @property
    def folder(self) -> Path:
        """Where this store's entries lie; its name is the key over all decode settings."""
        text = json.dumps({"decoder": DECODER_VERSION, **asdict(self.settings)}, sort_keys=True)
        return self.root / hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(self, digest: str) -> np.ndarray:
        """The clip's frames, uint8 `(F, H, W, 3)`, mapped read-only: workers of a node share the pages.

        Raises:
            DataError: the store has no entry for this digest.
        """
        try:
            return np.load(_entry(self.folder, digest), mmap_mode="r")
        except FileNotFoundError:
            raise DataError(
                f"the frame store {self.folder} has no frames for digest {digest}: build it again"
            ) from None

    def build(
        self,
        data_dir: Path,
        paths: Sequence[str],
        *,
        workers: int | None = None,
        seconds_per_clip: float = 300.0,
        progress: bool = True,
    ) -> BuildReport:
        """Decode the clips that the store lacks, in parallel processes.

        A clip that crashes the decoder or takes longer than `seconds_per_clip` costs that clip alone. Two builds
        at once take turns, so that each clip is still decoded once.

        Args:
            data_dir: the folder to which `paths` are relative.
            paths: the clips, as POSIX paths.
            workers: processes; default: one a core.
            seconds_per_clip: time limit to decode one clip.
            progress: show a bar.

        Raises:
            DataError: the store's folder can't be written.
        """
        with _one_builder(self.folder):
            _write_settings(self.folder, self.settings)
            results = list(
                tqdm(
                    _decode_all(data_dir, paths, self, workers or os.cpu_count() or 1, seconds_per_clip),
                    total=len(paths),
                    desc="frames",
                    unit="clip",
                    disable=not progress,
                )
            )
        return BuildReport(
            stored=tuple(clip for clip, _ in results if isinstance(clip, StoredClip)),
            failed=tuple(clip for clip, _ in results if isinstance(clip, FailedClip)),
            decoded=sum(fresh for _, fresh in results),
        )


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


def _decode_all(
    data_dir: Path, paths: Sequence[str], store: FrameStore, workers: int, seconds: float
) -> Iterator[tuple[StoredClip | FailedClip, bool]]:
    """Results in the order of `paths`; a process that dies or hangs is replaced, its clip named."""
    # Never fork: the caller may hold threads (Ray, MLflow), and a forked child can deadlock on their locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPool(max_workers=max(1, min(workers, len(paths))), context=context) as pool:
        jobs = [pool.schedule(_store_clip, args=(data_dir / path, path, store), timeout=seconds) for path in paths]
        try:
            for path, job in zip(paths, jobs, strict=True):
                try:
                    yield job.result()
                except FutureTimeoutError:
                    yield FailedClip(path, "unreadable", f"decoding took more than {seconds:g} s"), False
                except ProcessExpired as error:
                    yield FailedClip(path, "unreadable", f"the decoder crashed (exit code {error.exitcode})"), False
        except BaseException:
            pool.stop()
            raise


def _store_clip(file: Path, path: str, store: FrameStore) -> tuple[StoredClip | FailedClip, bool]:
    """Runs in a decoding process: the clip's entry, and whether it was decoded just now."""
    try:
        digest = file_sha256(file)
        entry = _entry(store.folder, digest)
        note = entry.with_suffix(".json")
        if entry.exists():
            return StoredClip(path, digest, ClipFacts(**json.loads(note.read_text()))), False
        decoded = decode_clip(file, store.settings)
    except UnusableClip as error:
        return FailedClip(path, error.defect, str(error)), False
    except OSError as error:
        return FailedClip(path, "unreadable", f"it can't be read: {error.strerror}"), False
    entry.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps(asdict(decoded.facts)))
    _write_entry(entry, decoded.frames)
    return StoredClip(path, digest, decoded.facts), True


def _entry(folder: Path, digest: str) -> Path:
    return folder / digest[:2] / f"{digest}.npy"


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_entry(entry: Path, frames: np.ndarray) -> None:
    descriptor, aside = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            np.save(stream, frames)
        os.replace(aside, entry)
    except BaseException:
        os.unlink(aside)
        raise


def _write_settings(folder: Path, settings: DecodeSettings) -> None:
    """For people who wonder what a folder of the store holds; nothing reads it back."""
    (folder / "settings.json").write_text(json.dumps({"decoder": DECODER_VERSION, **asdict(settings)}) + "\n")
