"""The test split, read once: the champion, rebuilt from its checkpoint alone, on clips no trial has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.cache import FrameStore, LabelledFrames
from data.errors import DataError
from data.splits import read_split
from tuning.champion import Champion
from tuning.checkpoint import CheckpointError, Manifest
from tuning.frame_order import probe
from tuning.loop import Predictions
from tuning.metrics import Scores, score
from tuning.run_folder import RunFolder
from tuning.settings import TestConfig
from tuning.test_log import log_use
from tuning.test_report import Answers, AveragedScores, Tested, TestReport, write_test_report
from tuning.uncertainty import answer_intervals


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
    clips = split.clips("test")
    store = config.store.open(champion.manifest.decode)
    build = store.build(
        Path(config.data.dir),
        [clip.path for clip in clips],
        workers=config.store.workers,
        seconds_per_clip=config.store.seconds_per_clip,
        progress=progress,
    )
    labelled = build.labelled(clips, champion.manifest.classes)
    if not labelled:
        raise DataError(f"none of the {len(clips)} test clips can be decoded: {build.failed[0].reason}")
    groups = [split.groups[clip.clip_id] for clip in labelled]
    log_use(run, split, champion.manifest.model_sha256, "champion")
    predictions = champion.predict_stored(labelled, store)
    report = TestReport(
        _scores(predictions, champion.manifest),
        answer_intervals(predictions, groups),
        _averaged_scores(champion, labelled, store, config.test),
        run.test,
    )
    probes = [probe(champion, labelled, store, groups, title=champion.title, is_champion=True, ordered=predictions)]
    for other in others:
        model = Champion(other.checkpoint)
        log_use(run, split, model.manifest.model_sha256, "frame order")
        probes.append(probe(model, labelled, store, groups, title=other.title, is_champion=False))
    manifest = champion.manifest
    tested = Tested(manifest.classes, manifest.split_sha256, manifest.model_sha256, tuple(build.failed))
    probabilities = champion.calibration.probabilities(predictions.logits).numpy()
    write_test_report(report, tested, Answers(predictions, probabilities, groups), probes)
    return report


def _scores(predictions: Predictions, manifest: Manifest) -> Scores:
    return score(predictions.labels.tolist(), predictions.logits.argmax(1).tolist(), manifest.classes)


def _averaged_scores(
    champion: Champion, clips: Sequence[LabelledFrames], store: FrameStore, test: TestConfig
) -> AveragedScores | None:
    if test.views == test.crops == 1:
        return None
    predictions = champion.predict_averaged(clips, store, views=test.views, crops=test.crops)
    return AveragedScores(test.views, test.crops, _scores(predictions, champion.manifest))


def _check_split(manifest: Manifest, sha256: str, run: RunFolder) -> None:
    if manifest.split_sha256 != sha256:
        raise CheckpointError(
            f"the checkpoint {run.best} was trained on split {manifest.split_sha256[:12]}, but {run.split} is "
            f"{sha256[:12]}: its test clips may have been trained on; restore the run's own split.csv"
        )
