"""From settings to what trials can start on: scan, decode, split, weights; what can't be used is refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray

from data.clip import Clip
from data.dataset.clips import read_groups, scan_clips
from data.dataset.same_bytes import find_copies, join_copies
from data.dataset.splits import LEFT_OUT, Split, check_split, make_folds, make_split, read_split
from data.errors import DataError
from data.quality.defects import Defect, Limits, find_defects
from data.quality.grouping import Grouping, find_groups
from data.quality.similarity import find_signatures
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from models.errors import ModelError
from models.registry import build_model
from models.weights import WeightsReport, at_hand, find_weights, load_weights
from tuning.cluster.decode import build_on_cluster
from tuning.cluster.node_checks import Folder, check_nodes, needs, witnesses
from tuning.cluster.submitted_job import weight_paths
from tuning.config.schema import AUTO_GROUPS, ConfigError, DataConfig, StoreConfig
from tuning.config.subspace import Subspace
from tuning.config.sweep_config import SweepConfig
from tuning.training.inputs import Round, TrialData
from tuning.trial.spec import Slot


@dataclass(frozen=True, slots=True)
class ScannedData:
    """A folder's clips, before anything is decoded."""

    root: Path
    clips: tuple[Clip, ...]
    """Those to use and those to leave out."""
    split: Split | None
    """Their split; None where groups are still to be found from the pictures."""
    ignored: tuple[str, ...]
    """Files in class folders that are no videos."""
    unlisted: tuple[str, ...] = ()
    """Clips of the folder that a given split does not list."""
    unmatched: tuple[str, ...] = ()
    """Paths in the file of groups that are no clips of the folder."""

    @property
    def num_classes(self) -> int:
        """Classes to train on, as far as is known."""
        return len(self.split.classes) if self.split else len({clip.label for clip in self.clips})


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Clips whose frames are in the store."""

    split: Split
    frame_store: StoreConfig
    """Where the frames are."""
    build: BuildReport
    grouping: Grouping | None
    """How groups were found, where they were to be found from the pictures."""
    copies: tuple[tuple[str, ...], ...]
    """Files with the same bytes."""
    defects: tuple[Defect, ...]
    """All that is suspect about the clips in use."""

    def trial_data(self) -> TrialData:
        """What training workers get: the test clips are not in it."""
        classes, labelled = self.split.classes, self.build.labelled
        return TrialData(
            classes=classes,
            split_sha256=self.split.sha256,
            frame_store=self.frame_store,
            decode=self.frame_store.decode_settings(),
            rounds=tuple(
                Round(train=tuple(labelled(r.train, classes)), val=tuple(labelled(r.val, classes)))
                for r in self.split.rounds()
            ),
        )


def scan(config: DataConfig) -> ScannedData:
    """Find the clips and give each its split; a split that exists is used as it is.

    Raises:
        ConfigError: no folder is set.
        DataError: the folder, the groups or the split can't be used.
    """
    if not config.dir:
        raise ConfigError("no folder of clips: give --data DIR (one sub-folder a class)")
    root = Path(config.dir)
    if config.split is not None:
        found = scan_clips(root)
        split = read_split(Path(config.split))
        unlisted = check_split(split, root, found.clips)
        return ScannedData(root, tuple(row.clip for row in split.rows), split, found.ignored, tuple(unlisted))
    if config.groups == AUTO_GROUPS:
        found = scan_clips(root)
        return ScannedData(root, found.clips, None, found.ignored)
    found = scan_clips(root, read_groups(config.groups) if config.groups else None)
    split = _new_split(found.clips, config)
    return ScannedData(root, found.clips, split, found.ignored, unmatched=found.unmatched_groups)


def _new_split(clips: Sequence[Clip], config: DataConfig) -> Split:
    if config.folds:
        return make_folds(clips, folds=config.folds, test=config.test, seed=config.seed, few_groups=config.few_groups)
    return make_split(clips, val=config.val, test=config.test, seed=config.seed, few_groups=config.few_groups)


def prepare(scanned: ScannedData, config: SweepConfig, *, progress: bool) -> PreparedData:
    """Decode what the frame store lacks, look for what is suspect, and settle the split.

    Raises:
        DataError: more clips fail than `data.max_failed` allows, a class would lose its last clip of a split, the
            same file stands under two labels or in two splits, or the groups that were found allow no split.
    """
    store = config.store.open()
    left_out = {clip.path for clip in scanned.split.clips(LEFT_OUT)} if scanned.split else set()
    clips = [clip for clip in scanned.clips if clip.path not in left_out]
    build = _build(store, scanned.root, [clip.path for clip in clips], config.store, progress)
    copies = tuple(find_copies(build.digests()))
    if config.data.copies == "refuse":
        labels = {clip.path: clip.label for clip in clips}
        _refuse_torn(copies, labels, "under two labels", "remove the wrong one")
    signatures = find_signatures(build, store, progress=progress)
    grouping = find_groups(clips, build, store, signatures, progress=progress) if scanned.split is None else None
    split = _settled_split(scanned, config.data, grouping, copies)
    check_failures(split, build, config.data.max_failed)
    used = [row.clip for row in split.rows if row.split != LEFT_OUT]
    limits = Limits(config.data.min_seconds, config.data.max_seconds)
    defects = find_defects(used, build, store, signatures, limits)
    return PreparedData(split, config.store, build, grouping, copies, tuple(defects))


def check_cluster(scanned: ScannedData, config: SweepConfig, slot: Slot) -> int:
    """See that every node of the connected cluster can do its part, before anything is decoded.

    Returns:
        How many nodes were asked.

    Raises:
        ClusterError: one of them does not see a folder, or lacks a package or a GPU that torch can use.
    """
    shared = [("runs_dir", Path(config.runs_dir))]
    if not config.store.in_bucket:
        shared.append(("store.dir", Path(config.store.dir)))
    files = [(f"weights of {arch}", path) for arch, path in weight_paths(config)]
    if config.weights_dir is not None:
        files.append(("weights_dir", config.weights_dir))
    own = [("store.local", config.store.local)] if config.store.local else []
    with witnesses(shared) as written:
        clips = Folder("data.dir (--data)", str(scanned.root), scanned.clips[0].path, written=False)
        return check_nodes(needs([clips, *written], files, own), gpus=slot.gpus > 0)


def _build(store: FrameStore, root: Path, paths: Sequence[str], config: StoreConfig, progress: bool) -> BuildReport:
    """On all nodes of a cluster of several, else in processes of this machine."""
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
    """Files with the same bytes never stand in two splits: a new split keeps them together, a given one is refused."""
    if grouping is not None:
        return _new_split(grouping.grouped(scanned.clips), config)
    assert scanned.split is not None
    if config.split is None:
        joined = join_copies(scanned.clips, copies)
        return scanned.split if joined == list(scanned.clips) else _new_split(joined, config)
    if config.copies == "refuse":
        splits = {row.clip.path: row.split for row in scanned.split.rows}
        _refuse_torn(copies, splits, "in two splits", "remove one or make a new split")
    return scanned.split


def _refuse_torn(copies: Sequence[Sequence[str]], place: Mapping[str, str], where: str, mend: str) -> None:
    """Refuse files with the same bytes that are in more than one place, such as two splits."""
    torn = [same for same in copies if len({place[path] for path in same}) > 1]
    if torn:
        raise DataError(
            f"{len(torn)} files stand {where} with the same bytes, the first is {' = '.join(map(repr, torn[0]))}: "
            f"{mend}, or set data.copies=allow"
        )


def check_failures(split: Split, build: BuildReport, limit: float) -> None:
    """Refuse to go on where the clips that fail would change what is measured.

    Raises:
        DataError: see `prepare`; names the first failed clips with their reasons.
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
                f"mend or remove them and split anew ({named}{more})"
            )
    total = len(build.failed) + len(build.stored)
    if len(failed) > limit * total:
        raise DataError(
            f"{len(failed)} of {total} clips can't be decoded, more than data.max_failed={limit:g} allows: "
            f"{named}{more}; mend or remove them, or raise data.max_failed"
        )


def _parts(split: Split) -> dict[str, Sequence[Clip]]:
    """What must not lose a class: all that is trained on at once, all that is validated on, the test."""
    parts: dict[str, Sequence[Clip]] = {}
    for fold, each in enumerate(split.rounds(), 1):
        parts[f"train of fold {fold}" if split.folds else "train"] = each.train
    parts["val"] = [clip for each in split.rounds() for clip in each.val]
    return parts | {"test": split.clips("test")}


def check_weights_dir(weights_dir: str | None) -> None:
    """Refuse a folder of weight files that is not there: a mistyped one would be filled by downloads.

    Raises:
        ConfigError: it is no folder.
    """
    if weights_dir is not None and not Path(weights_dir).is_dir():
        what = "is a file" if Path(weights_dir).exists() else "is not there"
        raise ConfigError(
            f"weights_dir {weights_dir!r} {what}: give a folder, which 'python -m models fetch NAME --weights-dir DIR' "
            "fills where there is a network"
        )


def prepare_weights(config: SweepConfig, num_classes: int) -> dict[tuple[str, str], WeightsReport]:
    """Fetch or find all weights that trials start from, once, before any worker needs them, and see that they fit.

    Returns:
        By architecture and weights, what of the file is used.

    Raises:
        ModelError: weights can't be had, or a file leaves layers below the head at their random start.
    """
    reports = {}
    folder = Path(config.weights_dir) if config.weights_dir else None
    tried: dict[tuple[str, str], Subspace] = {}
    for subspace in config.subspaces():
        for weights in subspace.listed("weights"):
            if weights != "none":
                tried.setdefault((subspace.arch, weights), subspace)
    _find_all(list(tried), folder)
    for (arch, weights), subspace in tried.items():
        sizes = {"num_frames": subspace.listed("num_frames")[0], "size": config.trainings(subspace)[0].size}
        model = build_model(arch, config.options(arch), num_classes=num_classes, **sizes)
        reports[arch, weights] = load_weights(model, arch, weights, folder)
        _check_backbone(arch, weights, reports[arch, weights])
    return reports


def _find_all(chosen: Sequence[tuple[str, str]], weights_dir: Path | None) -> None:
    """Before models are built, which takes longer; what else is missing is named with the first."""
    for number, (arch, weights) in enumerate(chosen, 1):
        try:
            find_weights(arch, weights, weights_dir)
        except ModelError as error:
            absent = [":".join(one) for one in chosen[number:] if not at_hand(*one, weights_dir)]
            more = f"; not there either: {', '.join(absent)}" if absent else ""
            raise ModelError(f"{error}{more}") from None


def _check_backbone(arch: str, weights: str, report: WeightsReport) -> None:
    random = [key for key in (*report.missing, *report.mismatched) if not key.startswith("head.")]
    if random:
        raise ModelError(
            f"{weights} does not fit {arch}: {len(random)} of its layers' values would stay random, the first is "
            f"{random[0]!r}; give weights of this very network, or set models.{arch}.weights=none"
        )
