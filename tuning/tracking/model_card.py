"""The model card of a champion: what to know before using it, as Markdown."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tabulate import tabulate

from data.dataset.splits import Split, read_split
from tuning.config.run_folder import RunFolder
from tuning.training.bootstrap import ScoreIntervals, score_intervals
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest, load_validation_predictions, read_manifest
from tuning.training.evaluation_metrics import EvaluationMetrics

MAX_CHARS = 5000
"""Length of a description that MLflow's databases accept."""

_SPLITS = ("train", "val", "test")
_NOT_TESTED = """## Not tested on
- Clips that show none of these exercises, or several: it answers with one of its classes, unless `abstain` is set.
- People, places and cameras other than those of the {groups} groups that the test clips come from.
- Videos that are cut, sped up or filmed differently from the training clips; live streams.
{unreadable}"""
_CALL = """## How to call
```python
model = mlflow.pyfunc.load_model("{uri}")
model.predict(pd.DataFrame({{"clip": ["clip.mp4"]}}), params={{"top_k": {top}, "abstain": True}})
```
A clip is a path, a file:// URL, or the file's content as base64. The column `defects` names what is wrong with a clip,
such as `black`, `still` or `one frame`: its answer may mean nothing. Served with `mlflow models serve -m {uri}
--env-manager local`:
```
curl localhost:5000/invocations -H 'Content-Type: application/json' \\
  -d '{{"dataframe_split": {{"columns": ["clip"], "data": [["clip.mp4"]]}}}}'
```
It reads files of the machine that it runs on: serve it only to people whom you trust with these files."""


def model_card(run: RunFolder, tested: EvaluationMetrics, uri: str) -> str:
    """Return the model card of a run's tested champion.

    Args:
        run: with `best/` and its split.
        tested: scores on the test split.
        uri: `models:/NAME/VERSION`.
    """
    manifest, split = read_manifest(run.best), read_split(run.split)
    before = [_head(manifest), _scores(run, manifest, split, tested)]
    after = [
        _calibration(Calibration.load(run.best)),
        _model(manifest),
        _not_tested(split, tested),
        _CALL.format(uri=uri, top=min(3, len(manifest.classes))),
    ]
    card = "\n\n".join([*before, _data(manifest, split), *after])
    if len(card) > MAX_CHARS:
        short = f"{_data_line(manifest, split)} `split/split.csv` of the run lists the clips."
        card = "\n\n".join([*before, short, *after])
    return card if len(card) <= MAX_CHARS else f"{card[: MAX_CHARS - 1]}…"


def _head(manifest: Manifest) -> str:
    return f"Names the exercise in a workout clip, one of {len(manifest.classes)} classes."


def _scores(run: RunFolder, manifest: Manifest, split: Split, tested: EvaluationMetrics) -> str:
    validation = load_validation_predictions(run.best)
    val_intervals = score_intervals(validation, [split.groups.get(clip, clip) for clip in validation.clip_ids])
    test_intervals = ScoreIntervals(tested.accuracy_group_95, tested.macro_f1_group_95)
    val_accuracy, val_macro_f1 = (manifest.metrics.get(f"val_{name}") for name in ("accuracy", "macro_f1"))
    rows = [
        ["validation", len(validation.clip_ids), *_score_cells(val_accuracy, val_macro_f1, val_intervals)],
        ["test", tested.num_clips, *_score_cells(tested.accuracy, tested.macro_f1, test_intervals)],
    ]
    table = tabulate(rows, ["", "clips", "accuracy", "95 %", "macro-F1", "95 %"], "pipe", disable_numparse=True)
    note = "Intervals are over groups. The model was chosen by its validation score, which is therefore optimistic."
    return f"## Scores\n{table}\n\n{note}"


def _score_cells(accuracy: float | None, macro_f1: float | None, intervals: ScoreIntervals) -> list[str]:
    cells = ["" if value is None else f"{value:.3f}" for value in (accuracy, macro_f1)]
    return [cells[0], str(intervals.accuracy), cells[1], str(intervals.macro_f1)]


def _calibration(calibration: Calibration) -> str:
    if not calibration.clips:
        return ""
    return (
        f"Probabilities are calibrated on {calibration.clips} validation clips (temperature "
        f"{calibration.temperature:.3g}). With `abstain` set, the label is empty for a clip whose highest probability "
        f"is below {calibration.threshold:.3f}: on validation it answered {calibration.coverage:.0%} of the clips, and "
        f"{calibration.risk:.1%} of these answers were wrong."
    )


def _data(manifest: Manifest, split: Split) -> str:
    counts = Counter((row.clip.label, row.split) for row in split.rows)
    header = ["class", *_SPLITS]
    rows = [[_escape_cell(name), *(counts[name, split_name] for split_name in _SPLITS)] for name in manifest.classes]
    table = tabulate(rows, header, "pipe", disable_numparse=True)
    return f"{_data_line(manifest, split)}\n\n{table}"


def _data_line(manifest: Manifest, split: Split) -> str:
    counts = Counter(row.split for row in split.rows)
    groups = len({row.clip.group for row in split.rows})
    clips = ", ".join(f"{counts[name]} {name}" for name in sorted(counts, key=_split_order))
    return (
        f"## Data\nClips: {clips}; from {groups} groups (a group has the clips of one source video). "
        f"Split SHA-256 `{manifest.split_sha256}`."
    )


def _split_order(name: str) -> tuple[int, str]:
    return (_SPLITS.index(name) if name in _SPLITS else len(_SPLITS), name)


def _model(manifest: Manifest) -> str:
    trial = manifest.trial
    folds = f", mean of {manifest.folds} folds" if manifest.folds > 1 else ""
    return (
        f"## Model\n{trial.arch} (weights: {Path(trial.weights).name}), sampler {trial.sampler}, loss {trial.loss}, "
        f"{trial.num_frames} {trial.selection} frames of {trial.train.size} px, learning rate {trial.lr:.3g}, "
        f"{manifest.epoch} epochs, seed {trial.train.seed}{folds}. Checkpoint SHA-256 `{manifest.model_sha256}`."
    )


def _not_tested(split: Split, tested: EvaluationMetrics) -> str:
    groups = len({row.clip.group for row in split.rows if row.split == "test"})
    failed = len(tested.failed_clips)
    unreadable = f"- {failed} test clips that can't be decoded.\n" if failed else ""
    return _NOT_TESTED.format(groups=groups, unreadable=unreadable).rstrip()


def _escape_cell(name: str) -> str:
    """Escape a class name for a cell of a Markdown table."""
    return name.replace("\\", "\\\\").replace("|", "\\|")
