"""Noise in place of frames, to profile the trials of a sweep whose clips are not decoded."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data.clip import Clip
from data.store.build_report import LabelledFrames
from data.store.noise import write_noise
from data.video.frame_converter import stored_size
from tuning.config.schema.store import StoreConfig
from tuning.config.sweep_config import SweepConfig
from tuning.prepare.clips import ScannedData, own_or_new_split
from tuning.training.trial_data import FoldClips, TrialData

_NOISE_CLIPS = 8
_USUAL_SIZE = (1920, 1080)


@contextmanager
def undecoded_data(scanned: ScannedData, config: SweepConfig) -> Iterator[TrialData]:
    """Yield the clips of a sweep with a few entries of noise in place of their frames, in a temporary frame store.

    Groups that are still to be found from the pictures are ignored.

    Raises:
        DataError: the clips can't be split.
    """
    split = scanned.split or own_or_new_split(scanned.root, scanned.clips, scanned.own_splits, config.data)
    with _temporary_folder(config.store) as folder:
        store = config.store.model_copy(update={"dir": str(folder), "local": None})
        size = stored_size(*_USUAL_SIZE, store.short_side)
        digests = write_noise(store.open(), _NOISE_CLIPS, *size)

        def labelled(clips: Sequence[Clip]) -> tuple[LabelledFrames, ...]:
            pairs = zip(clips, itertools.cycle(digests), strict=False)
            return tuple(LabelledFrames(clip.path, digest, split.classes.index(clip.label)) for clip, digest in pairs)

        yield TrialData(
            classes=split.classes,
            split_sha256=split.sha256,
            frame_store=store,
            decode=store.decode_settings(),
            folds=tuple(FoldClips(train=labelled(each.train), val=labelled(each.val)) for each in split.rounds()),
        )


@contextmanager
def _temporary_folder(store: StoreConfig) -> Iterator[Path]:
    """Yield a temporary folder that the nodes of a cluster reach, if they reach one, beside the frame store."""
    parent = Path(store.dir)
    shared = None if store.in_bucket or not parent.is_dir() else parent
    with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=shared) as folder:
        yield Path(folder)
