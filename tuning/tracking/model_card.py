"""What a person must know of a champion before using it, as Markdown."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tabulate import tabulate

from data.dataset.splits import Split, read_split
from tuning.config.run_folder import RunFolder
from tuning.training.bootstrap import Interval, ScoreIntervals, score_intervals
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest, load_validation_predictions, read_manifest

LONGEST = 5000
"""Characters of a description that MLflow's databases hold."""

_SPLITS = ("train", "val", "test")
_NOT_TESTED = """## Not tested on
- Clips that show none of these exercises, or several: it names one of its classes, unless asked to abstain.
- People, places and cameras other than those of the {recordings} recordings that the test clips come from.
- Videos that are cut, sped up or filmed differently from the training clips; live streams.
{unreadable}"""
_CALL = """## How to call
```python
model = mlflow.pyfunc.load_model("{address}")
model.predict(pd.DataFrame({{"clip": ["clip.mp4"]}}), params={{"top_k": {top}, "abstain": True}})
```
A clip is a path, a file:// URL, or the file's bytes as base64. Served with `mlflow models serve -m {address}
--env-manager local`:
```
curl localhost:5000/invocations -H 'Content-Type: application/json' \\
  -d '{{"dataframe_split": {{"columns": ["clip"], "data": [["clip.mp4"]]}}}}'
```
It reads the files of the machine it runs on: serve it to people whom you trust with these."""


def model_card(run: RunFolder, address: str) -> str:
    """The card of a run's tested champion.

    Args:
        run: with `best/`, `test/` and its split.
        address: `models:/NAME/VERSION`.
    """
    manifest, split = read_manifest(run.best), read_split(run.split)
    metrics = json.loads((run.test / "metrics.json").read_text())
    parts = [
        _head(manifest),
        _scores(run, manifest, split, metrics),
        _answers(Calibration.load(run.best)),
        _model(manifest),
        _not_tested(split, metrics),
        _CALL.format(address=address, top=min(3, len(manifest.classes))),
    ]
    place = 2
    whole = "\n\n".join([*parts[:place], _data(manifest, split), *parts[place:]])
    if len(whole) > LONGEST:
        short = f"{_data_line(manifest, split)} `split/split.csv` of the run lists the clips."
        whole = "\n\n".join([*parts[:place], short, *parts[place:]])
    return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 1]}…"


def _head(manifest: Manifest) -> str:
    return f"Names the exercise in a workout clip, one of {len(manifest.classes)} classes."


def _scores(run: RunFolder, manifest: Manifest, split: Split, metrics: dict[str, Any]) -> str:
    answers = load_validation_predictions(run.best)
    of_validation = score_intervals(answers, [split.groups.get(clip, clip) for clip in answers.clip_ids])
    of_test = ScoreIntervals(Interval(**metrics["accuracy_group_95"]), Interval(**metrics["macro_f1_group_95"]))
    validated = manifest.metrics
    rows = [
        ["validation", len(answers.clip_ids), *_score(validated, "val_", of_validation)],
        ["test", metrics["num_clips"], *_score(metrics, "", of_test)],
    ]
    table = tabulate(rows, ["", "clips", "accuracy", "95 %", "macro-F1", "95 %"], "pipe", disable_numparse=True)
    why = "Intervals are over recordings. The model was chosen by its validation score, which is therefore too good."
    return f"## Scores\n{table}\n\n{why}"


def _score(figures: dict[str, Any], prefix: str, intervals: ScoreIntervals) -> list[str]:
    accuracy, macro_f1 = (figures.get(f"{prefix}{name}") for name in ("accuracy", "macro_f1"))
    shown = ["" if value is None else f"{value:.3f}" for value in (accuracy, macro_f1)]
    return [shown[0], str(intervals.accuracy), shown[1], str(intervals.macro_f1)]


def _answers(calibration: Calibration) -> str:
    if not calibration.clips:
        return ""
    return (
        f"Probabilities are tempered by {calibration.temperature:.3g} on {calibration.clips} validation clips. "
        f"Asked to abstain, it leaves the label of clips below {calibration.threshold:.3f} empty: on validation it "
        f"answered {calibration.coverage:.0%}, and {calibration.risk:.1%} of the answers were wrong."
    )


def _data(manifest: Manifest, split: Split) -> str:
    counts = Counter((row.clip.label, row.split) for row in split.rows)
    header = ["class", *_SPLITS]
    rows = [[_cell(name), *(counts[name, each] for each in _SPLITS)] for name in manifest.classes]
    table = tabulate(rows, header, "pipe", disable_numparse=True)
    return f"{_data_line(manifest, split)}\n\n{table}"


def _data_line(manifest: Manifest, split: Split) -> str:
    counts = Counter(row.split for row in split.rows)
    recordings = len({row.clip.group for row in split.rows})
    clips = ", ".join(f"{counts[each]} {each}" for each in sorted(counts, key=_place))
    return f"## Data\nClips: {clips}; from {recordings} recordings. Split SHA-256 `{manifest.split_sha256}`."


def _place(split: str) -> tuple[int, str]:
    return (_SPLITS.index(split) if split in _SPLITS else len(_SPLITS), split)


def _model(manifest: Manifest) -> str:
    trial = manifest.trial
    folds = f", {manifest.folds} folds that answer together" if manifest.folds > 1 else ""
    return (
        f"## Model\n{trial.arch} (weights: {Path(trial.weights).name}), sampler {trial.sampler}, loss {trial.loss}, "
        f"{trial.num_frames} {trial.selection} frames of {trial.train.size} px, learning rate {trial.lr:.3g}, "
        f"{manifest.epoch} epochs, seed {trial.train.seed}{folds}. Checkpoint SHA-256 `{manifest.model_sha256}`."
    )


def _not_tested(split: Split, metrics: dict[str, Any]) -> str:
    recordings = len({row.clip.group for row in split.rows if row.split == "test"})
    failed = len(metrics["failed_clips"])
    unreadable = f"- {failed} test clips that can't be decoded.\n" if failed else ""
    return _NOT_TESTED.format(recordings=recordings, unreadable=unreadable).rstrip()


def _cell(name: str) -> str:
    """A class' name that breaks no table."""
    return name.replace("\\", "\\\\").replace("|", "\\|")
