"""The test split, read once: the champion, rebuilt from its checkpoint alone, on clips no trial has seen."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from data.cache import BuildReport, FrameStore, LabelledFrames
from data.clip_view import file_frames
from data.errors import DataError
from data.intervals import wilson_interval
from data.loading import Batch, EvalDataset, eval_loader
from data.splits import read_split
from data.transforms import EvalTransform, Normalise
from models.registry import ARCHITECTURES
from tuning.checkpoint import CheckpointError, Manifest, load_model
from tuning.loop import Predictions, predict
from tuning.metrics import Scores, score
from tuning.precision import choose_precision
from tuning.report import plot_confusion
from tuning.run_folder import RunFolder
from tuning.settings import TestConfig

METRICS, PREDICTIONS, CONFUSION = "metrics.json", "predictions.csv", "confusion_matrix.png"


@dataclass(frozen=True, slots=True)
class AveragedScores:
    """What comes of the mean over several views and crops of each clip."""

    views: int
    """Views of a clip in time."""
    crops: int
    """Squares of each view's frames."""
    scores: Scores
    """Of each clip by the mean of the logits of all `views * crops`."""


@dataclass(frozen=True, slots=True)
class TestReport:
    """What the test split says of the champion."""

    __test__ = False  # Not a test case, whatever pytest thinks of its name.

    scores: Scores
    """Of a single view and the centre crop."""
    averaged: AveragedScores | None
    """Of several, where these were asked for."""
    folder: Path
    """Holds `metrics.json`, `predictions.csv` and `confusion_matrix.png`."""


class Champion:
    """A model rebuilt from a checkpoint folder, with all it needs to label clips."""

    def __init__(self, folder: Path) -> None:
        model, self.manifest = load_model(folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        arch = ARCHITECTURES[self.manifest.trial.arch]
        self.normalise = Normalise(arch.mean, arch.std).to(self.device)
        self.transform = EvalTransform(self.manifest.trial.train.size)
        self.selection = self.manifest.trial.frame_selection()
        self.precision = choose_precision(self.manifest.trial.train.precision, self.device)

    def predict_stored(
        self,
        clips: Sequence[LabelledFrames],
        store: FrameStore,
        *,
        view: int = 0,
        views: int = 1,
        crop: int = 0,
        crops: int = 1,
    ) -> Predictions:
        """Logits of one view and crop of clips whose frames are in the store."""
        transform = replace(self.transform, crop=crop, crops=crops)
        dataset = EvalDataset(clips, store, selection=self.selection, transform=transform, view=view, views=views)
        batches = eval_loader(dataset, batch_size=self.manifest.trial.train.at_once, workers=0, pin_memory=False)
        return predict(self.model, self.normalise, batches, device=self.device, precision=self.precision)

    def predict_averaged(
        self, clips: Sequence[LabelledFrames], store: FrameStore, *, views: int, crops: int
    ) -> Predictions:
        """Each clip's mean logits over `views` views of `crops` crops each."""
        each = [
            self.predict_stored(clips, store, view=view, views=views, crop=crop, crops=crops)
            for view, crop in itertools.product(range(views), range(crops))
        ]
        # In float64, where the mean of three equal float32 is that very number.
        mean = torch.stack([one.logits for one in each]).double().mean(0).float()
        return Predictions(each[0].clip_ids, each[0].labels, mean)

    def predict_file(self, file: Path) -> torch.Tensor:
        """Class probabilities `(K,)` of one video file.

        Raises:
            DataError: it can't be decoded.
        """
        frames = file_frames(file, self.manifest.decode, self.selection, self.transform)
        batch = Batch(frames[None], torch.zeros(1, dtype=torch.int64), [str(file)])
        result = predict(self.model, self.normalise, [batch], device=self.device, precision=self.precision)
        return result.logits[0].softmax(0)


def evaluate_run(run: RunFolder, *, progress: bool) -> TestReport:
    """Evaluate a run's champion on its test split and write `test/`.

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
    predictions = champion.predict_stored(labelled, store)
    report = TestReport(
        _scores(predictions, champion.manifest),
        _averaged_scores(champion, labelled, store, config.test),
        run.test,
    )
    _write_report(report, champion.manifest, predictions, build)
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


def _write_report(report: TestReport, manifest: Manifest, predictions: Predictions, build: BuildReport) -> None:
    """All files or none: the folder is filled aside, then put in place."""
    aside = report.folder.with_name(report.folder.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    (aside / METRICS).write_text(json.dumps(_metrics(report, manifest, build), indent=1) + "\n")
    _write_predictions(aside / PREDICTIONS, predictions, manifest.classes)
    plot_confusion(report.scores, manifest.classes, aside / CONFUSION)
    shutil.rmtree(report.folder, ignore_errors=True)
    aside.rename(report.folder)


def _metrics(report: TestReport, manifest: Manifest, build: BuildReport) -> dict[str, Any]:
    scores = report.scores
    return {
        **_summary(scores),
        "per_class": {row.label: {k: v for k, v in asdict(row).items() if k != "label"} for row in scores.per_class},
        "confusion": scores.confusion,
        "classes": manifest.classes,
        "num_clips": scores.num_clips,
        "averaged": _averaged_summary(report.averaged) if report.averaged else None,
        "failed_clips": {clip.path: clip.reason for clip in build.failed},
        "split_sha256": manifest.split_sha256,
        "checkpoint_sha256": manifest.model_sha256,
    }


def _averaged_summary(averaged: AveragedScores) -> dict[str, Any]:
    return {"views": averaged.views, "crops": averaged.crops, **_summary(averaged.scores)}


def _summary(scores: Scores) -> dict[str, Any]:
    correct = round(scores.accuracy * scores.num_clips)
    return {
        "accuracy": scores.accuracy,
        "accuracy_wilson_95": wilson_interval(correct, scores.num_clips),
        "macro_f1": scores.macro_f1,
    }


def _write_predictions(file: Path, predictions: Predictions, classes: Sequence[str]) -> None:
    probabilities, predicted = predictions.logits.softmax(1).max(1)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["clip", "label", "predicted", "probability"])
        for row in zip(
            predictions.clip_ids,
            (classes[i] for i in predictions.labels.tolist()),
            (classes[i] for i in predicted.tolist()),
            (f"{p:.6f}" for p in probabilities.tolist()),
            strict=True,
        ):
            writer.writerow(row)
