"""The test split, read once: the champion, rebuilt from its checkpoint alone, on clips no trial has seen."""

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
from tuning.config.sweep_config import SweepConfig
from tuning.evaluation.artifacts import Answers, AveragedScores, Tested, TestReport, write_test_report
from tuning.evaluation.frame_order import OrderProbe, probe
from tuning.evaluation.usage_log import log_use
from tuning.inference.champion import Champion
from tuning.training.bootstrap import score_intervals
from tuning.training.checkpoint import CheckpointError, Manifest
from tuning.training.metrics import Scores, score
from tuning.training.predictions import Predictions


@dataclass(frozen=True, slots=True)
class Contender:
    """A trial's model that is not the champion."""

    title: str
    checkpoint: Path


def evaluate_run(run: RunFolder, others: Sequence[Contender] = (), *, progress: bool) -> TestReport:
    """Evaluate a run's champion on its test split and write `test/`.

    Args:
        run: the run.
        others: models which are asked, beside the champion, what they make of frames in another order. Nothing is
            chosen by that.
        progress: show how decoding goes on.

    Raises:
        CheckpointError: no champion yet, a damaged checkpoint, or one trained on another split.
        ConfigError: it is no run.
        DataError: the split or the clips can't be read.
    """
    config = run.read_config()
    champion = Champion(run.best)
    split = read_split(run.split)
    _check_split(champion.manifest, split.sha256, run)
    clips = _decoded(config, champion.manifest, split, progress)
    log_use(run, split, champion.manifest.model_sha256, "champion")
    predictions = champion.predict_stored(clips.stored, clips.store)
    report = TestReport(
        _scores(predictions, champion.manifest),
        score_intervals(predictions, clips.groups),
        _averaged_scores(champion, clips, config.test),
        run.test,
    )
    probes = [_probe(champion, clips, champion.title, is_champion=True, ordered=predictions)]
    for other in others:
        model = Champion(other.checkpoint)
        log_use(run, split, model.manifest.model_sha256, "frame order")
        probes.append(_probe(model, clips, other.title, is_champion=False))
    _write(report, champion, clips, predictions, probes)
    return report


@dataclass(frozen=True, slots=True)
class _TestClips:
    """Those of the test split that can be decoded, and those that can't."""

    stored: list[LabelledFrames]
    groups: list[str]
    """Of each."""
    failed: tuple[FailedClip, ...]
    store: FrameStore


def _decoded(config: SweepConfig, manifest: Manifest, split: Split, progress: bool) -> _TestClips:
    clips = split.clips("test")
    store = config.store.open(manifest.decode)
    build = store.build(
        Path(config.data.dir),
        [clip.path for clip in clips],
        workers=config.store.workers,
        seconds_per_clip=config.store.seconds_per_clip,
        progress=progress,
    )
    stored = build.labelled(clips, manifest.classes)
    if not stored:
        raise DataError(f"none of the {len(clips)} test clips can be decoded: {build.failed[0].reason}")
    return _TestClips(stored, [split.groups[clip.clip_id] for clip in stored], build.failed, store)


def _probe(
    model: Champion, clips: _TestClips, title: str, *, is_champion: bool, ordered: Predictions | None = None
) -> OrderProbe:
    return probe(model, clips.stored, clips.store, clips.groups, title=title, is_champion=is_champion, ordered=ordered)


def _write(
    report: TestReport, champion: Champion, clips: _TestClips, predictions: Predictions, probes: Sequence[OrderProbe]
) -> None:
    manifest = champion.manifest
    tested = Tested(manifest.classes, manifest.split_sha256, manifest.model_sha256, clips.failed)
    probabilities = champion.calibration.probabilities(predictions.logits).numpy()
    write_test_report(report, tested, Answers(predictions, probabilities, clips.groups), probes)


def _scores(predictions: Predictions, manifest: Manifest) -> Scores:
    return score(predictions.labels.tolist(), predictions.logits.argmax(1).tolist(), manifest.classes)


def _averaged_scores(champion: Champion, clips: _TestClips, test: TestConfig) -> AveragedScores | None:
    if test.views == test.crops == 1:
        return None
    predictions = champion.predict_averaged(clips.stored, clips.store, views=test.views, crops=test.crops)
    return AveragedScores(test.views, test.crops, _scores(predictions, champion.manifest))


def _check_split(manifest: Manifest, sha256: str, run: RunFolder) -> None:
    if manifest.split_sha256 != sha256:
        raise CheckpointError(
            f"the checkpoint {run.best} was trained on split {manifest.split_sha256[:12]}, but {run.split} is "
            f"{sha256[:12]}: its test clips may have been trained on; restore the run's own split.csv"
        )
