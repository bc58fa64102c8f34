"""The feature store: features of clips, computed once for all trials whose backbone is frozen.

Layout: `STORE/features/KEY/ab/abcd….npy`, one array per clip, below the folder of the frame store that the features
were computed from. KEY is a hash of everything else that determines them, an entry's name is the SHA-256 of the video
file. Entries are written to a temporary file and renamed, so they are never partial, and a killed build resumes where
it stopped.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import DataError


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """Features of clips, of one backbone with one input."""

    folder: Path
    """The folder of the entries; its name is the store's key."""

    def read(self, digest: str) -> np.ndarray:
        """Return a clip's features, float32 `(V, …)` for V views, memory-mapped read-only.

        Raises:
            DataError: the store has no entry for this digest, or the entry is corrupt.
        """
        file = self._file(digest)
        try:
            return np.load(file, mmap_mode="r")
        except FileNotFoundError:
            raise DataError(f"the feature store {self.folder} has no features for digest {digest}") from None
        except (ValueError, EOFError) as error:
            raise DataError(f"the feature store's entry {file} is corrupt ({error}): remove it") from None

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Return the digests that have no entry, in order, without repetitions."""
        return [digest for digest in dict.fromkeys(digests) if not self._file(digest).exists()]

    def put(self, digest: str, features: np.ndarray) -> None:
        """Store a clip's features; its entry appears only once it is complete.

        Args:
            digest: of the clip.
            features: float32 `(V, …)`.

        Raises:
            DataError: the disk is full or the folder can't be written.
        """
        file = self._file(digest)
        temporary = file.with_name(f".{digest}.{uuid.uuid4().hex}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as stream:
                    np.save(stream, features)
                os.replace(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"the feature store {self.folder} can't be written ({error.strerror}): free disk space, or set "
                "store.dir to another disk"
            ) from None

    def _file(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.npy"
