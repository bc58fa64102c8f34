"""From settings to what trials can start on: scan, split, decode, weights; what can't be used is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.cache import BuildReport, FrameStore, LabelledFrames
from data.clips import Clip, read_groups, scan_clips
from data.errors import DataError
from data.splits import SPLITS, Assigned, Split, check_split, make_split, read_split
from models.errors import ModelError
from models.registry import build_model
from models.weights import WeightsReport, load_weights
from tuning.config import ConfigError, DataConfig, SweepConfig
from tuning.job import TrialData


@dataclass(frozen=True, slots=True)
class ScannedData:
    """A folder's clips with their split, before anything is decoded."""

    root: Path
    split: Split
    ignored: tuple[str, ...]
    """Files in class folders that are no videos."""
    unlisted: tuple[str, ...]
    """Clips of the folder that a given split does not list."""


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Clips whose frames are in the store."""

    split: Split
    store: FrameStore
    build: BuildReport

    def labelled(self, split: str) -> list[LabelledFrames]:
        """The clips of one split that decode, with class indices."""
        return self.build.labelled(self.split.clips(split), self.split.classes)

    def copies(self) -> list[str]:
        """Files with the same bytes that stand in two splits or under two labels, as `A = B`."""
        digests, found = self.build.digests(), []
        first: dict[str, Assigned] = {}
        for row in self.split.rows:
            digest = digests.get(row.clip.path)
            if digest is None:
                continue
            other = first.setdefault(digest, row)
            if (other.split, other.clip.label) != (row.split, row.clip.label):
                found.append(f"{other.clip.path} = {row.clip.path}")
        return found

    def trial_data(self) -> TrialData:
        """What training workers get: the test clips are not in it."""
        return TrialData(
            classes=self.split.classes,
            split_sha256=self.split.sha256,
            store_root=str(self.store.root),
            decode=self.store.settings,
            train=tuple(self.labelled("train")),
            val=tuple(self.labelled("val")),
        )


def scan(config: DataConfig) -> ScannedData:
    """Find the clips and give each its split; a split that exists is used as it is.

    Raises:
        ConfigError: no folder is set, or `groups` beside a given split, where it would have no effect.
        DataError: the folder, the groups or the split can't be used.
    """
    if not config.dir:
        raise ConfigError("no folder of clips: give --data DIR (one sub-folder a class)")
    root = Path(config.dir)
    if config.split is not None:
        if config.groups is not None:
            raise ConfigError("data.groups has no effect on an existing data.split: leave one of them out")
        found = scan_clips(root)
        split = read_split(Path(config.split))
        return ScannedData(root, split, found.ignored, tuple(check_split(split, root, found.clips)))
    found = scan_clips(root, read_groups(config.groups) if config.groups else None)
    split = make_split(found.clips, val=config.val, test=config.test, seed=config.seed, few_groups=config.few_groups)
    return ScannedData(root, split, found.ignored, ())


def prepare(scanned: ScannedData, config: SweepConfig, *, progress: bool) -> PreparedData:
    """Decode what the frame store lacks.

    Raises:
        DataError: more clips fail than `data.max_failed` allows, or a class would lose its last clip of a split.
    """
    store = FrameStore(Path(config.store.dir), config.store.decode_settings())
    clips = [clip for name in SPLITS for clip in scanned.split.clips(name)]
    build = store.build(
        scanned.root,
        [clip.path for clip in clips],
        workers=config.store.workers,
        seconds_per_clip=config.store.seconds_per_clip,
        progress=progress,
    )
    check_failures(scanned.split, build, clips, config.data.max_failed)
    return PreparedData(scanned.split, store, build)


def check_failures(split: Split, build: BuildReport, clips: Sequence[Clip], limit: float) -> None:
    """Refuse to go on where the clips that fail would change what is measured.

    Raises:
        DataError: see `prepare`; names the first failed clips with their reasons.
    """
    if not build.failed:
        return
    named = "; ".join(f"{clip.path}: {clip.reason}" for clip in build.failed[:5])
    more = f"; and {len(build.failed) - 5} more" if len(build.failed) > 5 else ""
    failed = {clip.path for clip in build.failed}
    for name in SPLITS:
        emptied = {c.label for c in split.clips(name)} - {c.label for c in split.clips(name) if c.path not in failed}
        if emptied:
            raise DataError(
                f"without its clips that can't be decoded, class {min(emptied)!r} has none left in {name}: "
                f"mend or remove them and split anew ({named}{more})"
            )
    if len(failed) > limit * len(clips):
        raise DataError(
            f"{len(failed)} of {len(clips)} clips can't be decoded, more than data.max_failed={limit:g} allows: "
            f"{named}{more}; mend or remove them, or raise data.max_failed"
        )


def prepare_weights(config: SweepConfig, num_classes: int) -> dict[str, WeightsReport]:
    """Fetch or find each architecture's weights, once, before any worker needs them, and see that they fit.

    Returns:
        By architecture, for those that start from weights, what of the file is used.

    Raises:
        ModelError: weights can't be had, or a file leaves layers below the head at their random start.
    """
    reports = {}
    for arch in config.space.arch:
        weights = config.weights(arch)
        if weights != "none":
            sizes = {"num_frames": config.space.num_frames[0], "size": config.train.size}
            model = build_model(arch, config.options(arch), num_classes=num_classes, **sizes)
            reports[arch] = load_weights(model, arch, weights)
            _check_backbone(arch, weights, reports[arch])
    return reports


def _check_backbone(arch: str, weights: str, report: WeightsReport) -> None:
    random = [key for key in (*report.missing, *report.mismatched) if not key.startswith("head.")]
    if random:
        raise ModelError(
            f"{weights} does not fit {arch}: {len(random)} of its layers' values would stay random, the first is "
            f"{random[0]!r}; give weights of this very network, or set models.{arch}.weights=none"
        )
