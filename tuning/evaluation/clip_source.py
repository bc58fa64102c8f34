"""Where a run's clips and their decoded frames are now: where its sweep read them, or where they were moved to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tuning.config.run_folder import RunFolder
from tuning.config.schema.store import StoreConfig
from tuning.config.sweep_config import SweepConfig


@dataclass(frozen=True, slots=True)
class ClipSource:
    """The folder of a run's clips and the frame store, as they are now."""

    folder: Path
    recorded: Path
    """The folder from which the sweep read the clips; it need not exist any more."""
    given: bool
    """Whether the user gave the folder."""
    store: FrameStore
    settings: StoreConfig

    @property
    def moved(self) -> bool:
        """Whether the clips are in another folder than the one the sweep read them from."""
        return self.folder != self.recorded

    def present(self, paths: Sequence[str]) -> list[str]:
        """Return the clips whose files are in the folder."""
        return [path for path in paths if (self.folder / path).is_file()]

    def check(self, paths: Sequence[str], what: str) -> None:
        """Check that the folder has clips; a folder that the user gave must have all of them.

        Args:
            paths: the clips that are needed.
            what: names them, such as `test clips`.

        Raises:
            DataError: they are not there.
        """
        present = self.present(paths)
        if present and (len(present) == len(paths) or not self.given):
            return
        missing = next(path for path in paths if path not in set(present))
        recorded = f" nor in '{self.recorded}'" if self.moved and not self.given else ""
        raise DataError(
            f"{len(paths) - len(present)} of the run's {len(paths)} {what} are not in '{self.folder}'{recorded}, the "
            f"first is {missing!r}; give --data DIR, the folder that has one sub-folder per class"
        )

    def decode(self, paths: Sequence[str], *, workers: int | None, progress: bool) -> BuildReport:
        """Decode the clips that the frame store lacks.

        Raises:
            DataError: the store can't be written.
        """
        seconds = self.settings.seconds_per_clip
        return self.store.build(self.folder, paths, workers=workers, seconds_per_clip=seconds, progress=progress)

    def recorded_digests(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the digests of clips as they were when they were last read where the sweep read them, if known."""
        return self.store.recorded_digests(self.recorded, paths)

    def check_content(self, digests: Mapping[str, str]) -> None:
        """Check that clips in another folder have the bytes of those that the sweep read, as far as these are known.

        Args:
            digests: digest of each clip in the folder.

        Raises:
            DataError: another file has the name of a clip.
        """
        if not self.moved:
            return
        recorded = self.recorded_digests(list(digests))
        other = [path for path, digest in recorded.items() if digest != digests[path]]
        if other:
            raise DataError(
                f"{len(other)} clips in '{self.folder}' have other bytes than those that the run was made with, the "
                f"first is {other[0]!r}; give --data DIR, the folder that has the run's clips"
            )


@contextmanager
def open_clip_source(
    run: RunFolder, config: SweepConfig, decode: DecodeSettings, data: Path | None = None
) -> Iterator[ClipSource]:
    """Yield a run's clips and frame store.

    A frame store outside the project that is gone is not created again: frames are decoded into a temporary folder.

    Args:
        run: the run.
        config: its settings, with the paths as they are now.
        decode: the decode settings of the champion.
        data: the folder of the clips; default: that of the settings.
    """
    recorded = run.read_recorded_config()
    source = Path(data).absolute() if data is not None else Path(config.data.dir)
    with ExitStack() as stack:
        settings = _usable_store(run, config.store, recorded.store)
        if settings is None:
            print(f"note: the frame store {config.store.dir!r} is gone: frames are decoded into a temporary folder")
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="frames-"))
            settings = config.store.model_copy(update={"dir": temporary, "local": None})
        yield ClipSource(source, Path(recorded.data.dir), data is not None, settings.open(decode), settings)


def _usable_store(run: RunFolder, present: StoreConfig, recorded: StoreConfig) -> StoreConfig | None:
    """Return the settings of the frame store; None if the run was moved away from it and it is gone."""
    if present.in_bucket or run.find_move() is None:
        return present
    if present.dir == recorded.dir and not Path(present.dir).is_dir():
        return None
    has_local = present.local is not None and Path(present.local).is_dir()
    return present.model_copy(update={"local": present.local if has_local else None})
