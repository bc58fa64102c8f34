"""Scan the clips of a folder, decode them into the frame store, and settle their split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.clip import Clip
from data.dataset.clips import check_groups_to_find, read_groups, scan_clips
from data.dataset.given_split import check_copies_together, given_split, unused_split_settings
from data.dataset.label_files import Labels, read_labels
from data.dataset.split_check import check_split_classes, fit_split
from data.dataset.splits import LEFT_OUT, Split, read_split
from data.dataset.stratify import make_folds, make_split
from data.dataset.unusable import check_folder
from data.dataset.video_files import list_folder
from data.errors import DataError
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from tuning.config.schema.data import AUTO_GROUPS, OWN_SPLITS, DataConfig
from tuning.config.schema.store import StoreConfig
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.training.trial_data import FoldClips, TrialData

if TYPE_CHECKING:
    from data.quality.defects import Defect
    from data.quality.grouping import Grouping

# Functions that need SciPy or Ray import it, so that `scan` refuses a folder at once.


@dataclass(frozen=True, slots=True)
class ScannedData:
    """The clips of a folder, before anything is decoded."""

    root: Path
    clips: tuple[Clip, ...]
    """Clips to use and clips to leave out."""
    split: Split | None
    """Their split; None if groups are still to be found from the pictures."""
    ignored: tuple[str, ...]
    """Files in class folders that are not videos."""
    unlisted: tuple[str, ...] = ()
    """Clips of the folder that a given split does not list."""
    own_splits: Mapping[str, str] | None = None
    """The split that each clip comes with, by folders or label files; None for a split CSV or a new split."""
    has_groups: bool = True
    """Whether groups are given or are to be found from the pictures."""
    notes: tuple[str, ...] = ()
    """What the user should know about the classes and about files of labels and groups."""

    @property
    def num_classes(self) -> int:
        """Number of classes to train on; without a split, number of class folders."""
        return len(self.split.classes) if self.split else len({clip.label for clip in self.clips})


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Clips whose frames are in the frame store."""

    split: Split
    frame_store: StoreConfig
    build: BuildReport
    grouping: Grouping | None
    """How groups were found from the pictures, for `data.groups=auto`."""
    copies: tuple[tuple[str, ...], ...]
    """Sets of files with the same bytes."""
    defects: tuple[Defect, ...]
    """Defects of the clips in use."""

    def trial_data(self) -> TrialData:
        """Return the clips that trials train and validate on; the test clips are not among them."""
        classes, labelled = self.split.classes, self.build.labelled
        return TrialData(
            classes=classes,
            split_sha256=self.split.sha256,
            frame_store=self.frame_store,
            decode=self.frame_store.decode_settings(),
            folds=tuple(
                FoldClips(train=tuple(labelled(r.train, classes)), val=tuple(labelled(r.val, classes)))
                for r in self.split.rounds()
            ),
        )


def scan(config: DataConfig, *, resumed: bool = False) -> ScannedData:
    """Find the clips and assign each to a split; a given split is used unchanged.

    Args:
        config: where the clips are, and how to split them.
        resumed: whether the split is that of a run, whose classes are settled.

    Raises:
        ConfigError: no folder is given, or a setting has no effect.
        DataError: the folder, the labels, the groups or the split can't be used.
    """
    if not config.dir:
        raise ConfigError("no folder of clips: give --data DIR (one sub-folder per class)")
    root = Path(config.dir)
    labels = read_labels([Path(file) for file in config.labels]) if config.labels else None
    if config.split_file is not None:
        if not Path(config.split_file).exists():
            raise DataError(
                f"no such split file: {config.split_file!r}; give a CSV, or for clips in train, val and test folders "
                f"one of {', '.join(OWN_SPLITS)}"
            )
        return _scan_with_split(root, read_split(Path(config.split_file)), config, labels, resumed)
    groups = read_groups(config.groups) if config.groups not in (None, AUTO_GROUPS) else None
    found = scan_clips(root, groups, labels=labels, split=config.split, merge_classes=config.merge_classes)
    if found.splits is not None:
        _check_split_settings(config, found.splits)
    auto = config.groups == AUTO_GROUPS
    if auto:
        check_groups_to_find(found)
    return ScannedData(
        root,
        found.clips,
        None if auto else own_or_new_split(root, found.clips, found.splits, config),
        found.ignored,
        own_splits=found.splits,
        has_groups=auto or found.has_groups,
        notes=found.notes,
    )


def _scan_with_split(root: Path, split: Split, config: DataConfig, labels: Labels | None, resumed: bool) -> ScannedData:
    """Find the clips of a split CSV, which says their classes."""
    check_folder(root)
    contents = list_folder(root)
    split, unlisted = fit_split(split, root, contents.videos)
    if not resumed:
        split = check_split_classes(split, root, contents.videos, labels, merge_classes=config.merge_classes)
    return ScannedData(root, tuple(row.clip for row in split.rows), split, contents.ignored(), tuple(unlisted))


def _check_split_settings(config: DataConfig, splits: Mapping[str, str]) -> None:
    """Check that no setting was given that has no effect on the split that the clips come with.

    Raises:
        ConfigError: there is one.
    """
    unused = sorted(config.model_fields_set & unused_split_settings(splits))
    if unused:
        names = ", ".join(f"data.{name}" for name in unused)
        raise ConfigError(
            f"{names} has no effect on the split that the clips come with: leave it out, or set data.split=merge to "
            "make a new one"
        )


def own_or_new_split(root: Path, clips: Sequence[Clip], splits: Mapping[str, str] | None, config: DataConfig) -> Split:
    """Return the split that the clips come with, or else a new one, with folds if the settings say so.

    Raises:
        DataError: the clips or their groups allow none.
    """
    if splits is not None:
        return given_split(clips, splits, root, val=config.val, seed=config.seed)
    if config.folds:
        return make_folds(clips, folds=config.folds, test=config.test, seed=config.seed, few_groups=config.few_groups)
    return make_split(clips, val=config.val, test=config.test, seed=config.seed, few_groups=config.few_groups)


def prepare(scanned: ScannedData, config: SweepConfig, *, progress: bool) -> PreparedData:
    """Decode the clips that the frame store lacks, find defects, and settle the split.

    Raises:
        DataError: more clips fail than `data.max_failed` allows, a class would lose its last clip of a split, the
            same file has two labels or is in two splits, or the groups that were found allow no split.
    """
    from data.dataset.same_bytes import find_copies
    from data.quality.defects import find_defects
    from data.quality.grouping import find_groups
    from data.quality.similarity import find_signatures

    store = config.store.open()
    left_out = {clip.path for clip in scanned.split.clips(LEFT_OUT)} if scanned.split else set()
    clips = [clip for clip in scanned.clips if clip.path not in left_out]
    build = _build(store, scanned.root, [clip.path for clip in clips], config.store, progress)
    copies = tuple(find_copies(build.digests()))
    if config.data.copies == "refuse":
        labels = {clip.path: clip.label for clip in clips}
        _refuse_separated_copies(copies, labels, "under two labels", "remove the wrong one")
    signatures = find_signatures(build, store, progress=progress)
    grouping = find_groups(clips, build, store, signatures, progress=progress) if scanned.split is None else None
    split = _settled_split(scanned, config.data, grouping, copies)
    check_failures(split, build, config.data.max_failed)
    used = [row.clip for row in split.rows if row.split != LEFT_OUT]
    defects = find_defects(used, build, store, signatures, config.data.limits())
    return PreparedData(split, config.store, build, grouping, copies, tuple(defects))


def _build(store: FrameStore, root: Path, paths: Sequence[str], config: StoreConfig, progress: bool) -> BuildReport:
    """Decode on all nodes of a cluster, or in processes of this machine if it is the only node."""
    import ray

    from tuning.cluster.decode import build_on_cluster

    if ray.is_initialized() and sum(node["Alive"] for node in ray.nodes()) > 1:
        return build_on_cluster(
            store,
            root,
            paths,
            seconds_per_clip=config.seconds_per_clip,
            verify=config.verify,
            progress=progress,
        )
    return store.build(
        root,
        paths,
        workers=config.workers,
        seconds_per_clip=config.seconds_per_clip,
        verify=config.verify,
        progress=progress,
    )


def _settled_split(
    scanned: ScannedData, config: DataConfig, grouping: Grouping | None, copies: Sequence[Sequence[str]]
) -> Split:
    """Keep files with the same bytes in one split: a new split keeps them together, a given one is refused."""
    from data.dataset.same_bytes import merge_groups_of_copies

    root, splits = scanned.root, scanned.own_splits
    if splits is not None and config.copies == "refuse":
        check_copies_together(copies, splits)
    if grouping is not None:
        return own_or_new_split(root, grouping.regroup(scanned.clips), splits, config)
    assert scanned.split is not None
    if config.split_file is None:
        joined = merge_groups_of_copies(scanned.clips, copies)
        if splits is None and joined != list(scanned.clips):
            return own_or_new_split(root, joined, splits, config)
        return scanned.split
    if config.copies == "refuse":
        place = {row.clip.path: row.split for row in scanned.split.rows}
        _refuse_separated_copies(copies, place, "in two splits", "remove one or make a new split")
    return scanned.split


def _refuse_separated_copies(
    copies: Sequence[Sequence[str]], place: Mapping[str, str], where: str, remedy: str
) -> None:
    """Raise DataError if files with the same bytes are in more than one place, such as two splits."""
    separated = [same for same in copies if len({place[path] for path in same}) > 1]
    if separated:
        first = " = ".join(map(repr, separated[0]))
        raise DataError(
            f"{len(separated)} files with the same bytes are {where}, the first is {first}: {remedy}, or set "
            "data.copies=allow"
        )


def check_failures(split: Split, build: BuildReport, limit: float) -> None:
    """Check that the clips that can't be decoded are few and leave no class empty.

    Raises:
        DataError: see `prepare`; the message names the first failed clips with their reasons.
    """
    if not build.failed:
        return
    named = "; ".join(f"{clip.path}: {clip.reason}" for clip in build.failed[:5])
    more = f"; and {len(build.failed) - 5} more" if len(build.failed) > 5 else ""
    failed = {clip.path for clip in build.failed}
    for name, clips in _parts(split).items():
        emptied = {clip.label for clip in clips} - {clip.label for clip in clips if clip.path not in failed}
        if emptied:
            raise DataError(
                f"without its clips that can't be decoded, class {min(emptied)!r} has none left in {name}: "
                f"repair or remove them and create a new split ({named}{more})"
            )
    total = len(build.failed) + len(build.stored)
    if len(failed) > limit * total:
        raise DataError(
            f"{len(failed)} of {total} clips can't be decoded, more than data.max_failed={limit:g} allows: "
            f"{named}{more}; repair or remove them, or raise data.max_failed"
        )


def _parts(split: Split) -> dict[str, Sequence[Clip]]:
    """Return the sets of clips that must not lose a class: each training set, the validation clips, the test clips."""
    parts: dict[str, Sequence[Clip]] = {}
    for fold, each in enumerate(split.rounds(), 1):
        parts[f"train of fold {fold}" if split.folds else "train"] = each.train
    parts["val"] = [clip for each in split.rounds() for clip in each.val]
    return parts | {"test": split.clips("test")}
