"""Evaluate a run's champion on its test split; only here are the labels of the test clips used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.dataset.splits import Split, read_split
from data.errors import DataError
from data.store.build_report import FailedClip, LabelledFrames
from data.store.frame_store import FrameStore
from tuning.config.run_folder import RunFolder
from tuning.config.schema.evaluation import TestConfig
from tuning.evaluation.artifacts import CalibratedPredictions, write_artifacts
from tuning.evaluation.clip_source import ClipSource, open_clip_source
from tuning.evaluation.frame_order import probe_frame_order
from tuning.evaluation.usage_log import log_test_use
from tuning.inference.champion import Champion
from tuning.training.bootstrap import score_intervals
from tuning.training.checkpoint import CheckpointError, Manifest
from tuning.training.evaluation_metrics import AveragedMetrics, ClassMetrics, EvaluationMetrics, accuracy_interval
from tuning.training.predictions import Predictions
from tuning.training.scores import score_predictions


@dataclass(frozen=True, slots=True)
class Contender:
    """The best trial of an architecture other than the champion's."""

    title: str
    checkpoint: Path


def evaluate_run(
    run: RunFolder, others: Sequence[Contender] = (), *, data: Path | None = None, progress: bool
) -> EvaluationMetrics:
    """Evaluate a run's champion on its test split and write the run's `test/` folder.

    Args:
        run: the run.
        others: further models whose accuracy is measured on reordered frames. Nothing is chosen by these results.
        data: folder of the clips; default: where the sweep read them, or where they were moved to with the run.
        progress: show the progress of decoding.

    Raises:
        CheckpointError: there is no champion yet, its checkpoint is damaged, or it was trained on another split.
        ConfigError: the folder is not a run.
        DataError: the split or all of its test clips can't be read, or `data` lacks a test clip or has another file of
            its name.
    """
    config = run.read_config()
    champion = Champion(run.best)
    split = read_split(run.split)
    check_own_split(champion.manifest, split.sha256, run)
    with open_clip_source(run, config, champion.manifest.decode, data) as source:
        clips = _decode_test_clips(source, champion.manifest, split, progress)
        return _evaluate(run, split, champion, clips, others, config.test)


def _evaluate(
    run: RunFolder,
    split: Split,
    champion: Champion,
    clips: _TestClips,
    others: Sequence[Contender],
    test: TestConfig,
) -> EvaluationMetrics:
    log_test_use(run, split, champion.manifest.model_sha256, "champion")
    predictions = champion.predict_stored(clips.frames, clips.store)
    metrics = _metrics(predictions, clips, champion.manifest, _averaged_metrics(champion, clips, test))
    probes = [
        probe_frame_order(
            champion,
            clips.frames,
            clips.store,
            clips.groups,
            title=champion.title,
            is_champion=True,
            ordered=predictions,
        )
    ]
    for other in others:
        model = Champion(other.checkpoint)
        log_test_use(run, split, model.manifest.model_sha256, "frame order")
        probes.append(
            probe_frame_order(model, clips.frames, clips.store, clips.groups, title=other.title, is_champion=False)
        )
    probabilities = champion.calibration.probabilities(predictions.logits).numpy()
    write_artifacts(run.test, metrics, CalibratedPredictions(predictions, probabilities, clips.groups), probes)
    return metrics


@dataclass(frozen=True, slots=True)
class _TestClips:
    """The test split: the clips that can be decoded, and those that can't."""

    frames: list[LabelledFrames]
    groups: list[str]
    """Group of each of `frames`."""
    failed: tuple[FailedClip, ...]
    store: FrameStore


def _decode_test_clips(source: ClipSource, manifest: Manifest, split: Split, progress: bool) -> _TestClips:
    clips = split.clips("test")
    paths = [clip.path for clip in clips]
    source.check(paths, "test clips")
    build = source.decode(paths, workers=source.settings.workers, progress=progress)
    source.check_content(build.digests())
    frames = build.labelled(clips, manifest.classes)
    if not frames:
        raise DataError(f"none of the {len(clips)} test clips can be decoded: {build.failed[0].reason}")
    return _TestClips(frames, [split.groups[clip.clip_id] for clip in frames], build.failed, source.store)


def _metrics(
    predictions: Predictions, clips: _TestClips, manifest: Manifest, averaged: AveragedMetrics | None
) -> EvaluationMetrics:
    scores = score_predictions(predictions, manifest.classes)
    intervals = score_intervals(predictions, clips.groups)
    return EvaluationMetrics(
        accuracy=scores.accuracy,
        accuracy_wilson_95=accuracy_interval(scores),
        macro_f1=scores.macro_f1,
        accuracy_group_95=intervals.accuracy,
        macro_f1_group_95=intervals.macro_f1,
        per_class={
            row.label: ClassMetrics(precision=row.precision, recall=row.recall, f1=row.f1, support=row.support)
            for row in scores.per_class
        },
        confusion=scores.confusion,
        classes=manifest.classes,
        num_clips=scores.num_clips,
        averaged=averaged,
        failed_clips={clip.path: clip.reason for clip in clips.failed},
        split_sha256=manifest.split_sha256,
        checkpoint_sha256=manifest.model_sha256,
    )


def _averaged_metrics(champion: Champion, clips: _TestClips, test: TestConfig) -> AveragedMetrics | None:
    if test.views == test.crops == 1:
        return None
    predictions = champion.predict_averaged(clips.frames, clips.store, views=test.views, crops=test.crops)
    return AveragedMetrics.of(score_predictions(predictions, champion.classes), test.views, test.crops)


def check_own_split(manifest: Manifest, sha256: str, run: RunFolder) -> None:
    """Check that the run's split file is the one that its champion was trained on.

    Raises:
        CheckpointError: it is another one.
    """
    if manifest.split_sha256 != sha256:
        raise CheckpointError(
            f"the checkpoint {run.best} was trained on split {manifest.split_sha256[:12]}, but {run.split} is "
            f"{sha256[:12]}: its test clips may be among the training clips; restore the run's own split.csv"
        )
