"""The report of a run, from its folder to the page."""

from __future__ import annotations

import base64
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from data.dataset.splits import read_split
from data.errors import DataError
from tests.helpers.awkward_names import AWKWARD_FOLDER
from tests.helpers.champions import FPS, coloured_square, make_run
from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.trial_results import trial_result
from tests.helpers.video_files import write_video
from tuning.config.load import save_config
from tuning.config.paths import change_paths
from tuning.config.run_folder import RunFolder
from tuning.evaluation.evaluate import evaluate_run
from tuning.report.findings import ReportError, SweepFindings
from tuning.report.gather import gather_findings
from tuning.report.page import write_report
from tuning.search.trial_result import TrialResult
from tuning.training.bootstrap import Interval, ScoreIntervals
from tuning.training.evaluation_metrics import EvaluationError
from tuning.training.timing import TIME_METRICS

__all__ = ["one_seed_one_thread"]

ALWAYS = {"per_class", "confusion", "confusion_rates", "reliability", "risk_coverage", "frame_order"}
OF_TRIALS = {
    "parallel_coordinates",
    "importance",
    "learning_curves",
    "pareto_seconds",
    "pareto_flops",
    "over_frames",
    "pairs_sampler_balanced",
    "time_shares",
}
TABLES = {"leaderboard", "mistakes", "label_issues"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An evaluated run; one of its test clips shows another class than its label."""
    run = make_run(tmp_path_factory.mktemp("place") / AWKWARD_FOLDER)
    mistaken = read_split(run.split).clips("test")[0]
    write_video(run.path.parents[1] / "clips" / mistaken.path, coloured_square("squat", 99), fps=FPS)
    evaluate_run(run, progress=False)
    return run


def trials(run: RunFolder) -> list[TrialResult]:
    """Trials that differ in sampler and number of frames, each with the champion's checkpoint."""
    epoch = {"val_macro_f1": 1.0, "val_accuracy": 1.0, **dict.fromkeys(TIME_METRICS, 0.5)}
    around = Interval(0.4, 1.0)
    return [
        replace(
            trial_result(f"{sampler}-{frames}", score, checkpoint=str(run.best), sampler=sampler, num_frames=frames),
            latest_checkpoint=str(run.best),
            history=(epoch,),
            intervals=ScoreIntervals(around, around),
        )
        for sampler, frames, score in (
            ("balanced", 8, 0.9),
            ("imbalanced", 8, 0.8),
            ("balanced", 16, 0.7),
            ("imbalanced", 16, 0.6),
        )
    ]


def findings(run: RunFolder, results: list[TrialResult]) -> SweepFindings:
    return gather_findings(run, results, results[0])


@pytest.fixture(scope="module")
def page(run: RunFolder) -> str:
    """The page of four trials."""
    return write_report(findings(run, trials(run))).read_text()


def csv_files(run: RunFolder) -> set[str]:
    return {file.stem for file in (run.report / "data").glob("*.csv")}


def test_the_page_is_self_contained_and_has_all_data(run: RunFolder, page: str) -> None:
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page), "nothing is loaded from elsewhere"
    assert csv_files(run) == ALWAYS | OF_TRIALS | TABLES
    embedded = dict(re.findall(r'download="([\w.]+)" href="data:text/csv;base64,([^"]+)"', page))
    assert {name.removesuffix(".csv") for name in embedded} == (ALWAYS | OF_TRIALS | TABLES) - {"label_issues"}
    for name, text in embedded.items():
        assert base64.b64decode(text) == (run.report / "data" / name).read_bytes()
    assert page.count("<svg") == len(ALWAYS | OF_TRIALS)


def test_a_mistake_is_shown_with_its_frames_and_the_predicted_class(run: RunFolder, page: str) -> None:
    mistakes = pd.read_csv(run.report / "data/mistakes.csv")
    assert mistakes["predicted"].tolist() == ["squat"]
    (clip,) = mistakes["clip"]
    assert '<img src="data:image/jpeg;base64,' in page
    assert f'alt="frames of {clip}"' in page
    assert re.search(rf"<b>{clip}</b><br>label <b>dip</b>, predicted <b>squat</b>", page)


def test_plots_that_compare_trials_are_left_out_for_a_single_trial(run: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    page = write_report(findings(copy, trials(run)[:1])).read_text()
    assert csv_files(copy) == ALWAYS | TABLES | {"learning_curves", "time_shares"}
    assert "No two trials differ in sampler alone" in page


def test_page_of_a_moved_project_is_the_same(run: RunFolder, page: str, tmp_path: Path) -> None:
    project, old, new = run.path.parents[1], tmp_path / "old", tmp_path / "new"
    shutil.copytree(project, old)
    config = change_paths(run.read_config(), lambda path: path.replace(str(project), str(old)))
    save_config(config, old / "runs" / run.path.name / "config.yaml")
    old.rename(new)
    moved = RunFolder(new / "runs" / run.path.name)
    assert moved.read_recorded_config().data.dir == str(old / "clips")
    assert write_report(findings(moved, trials(moved))).read_text() == page
    assert not old.exists()


def test_pictures_come_from_the_frame_store_or_from_the_given_folder_when_the_clips_are_gone(
    run: RunFolder, page: str
) -> None:
    clips = run.path.parents[1] / "clips"
    hidden = clips.rename(clips.with_name("hidden"))
    try:
        assert write_report(findings(run, trials(run))).read_text() == page
        assert write_report(findings(run, trials(run)), hidden).read_text() == page
        with pytest.raises(DataError, match="clips that the report shows are not in '.*runs', the first is"):
            write_report(findings(run, trials(run)), run.path.parent)
        assert not clips.exists()
    finally:
        hidden.rename(clips)


def test_clip_whose_frames_are_gone_is_named_without_them(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = RunFolder(tmp_path / "moved")
    shutil.copytree(run.path, moved.path)
    moved.config.write_text(moved.config.read_text().replace("/clips", "/elsewhere"))
    page = write_report(findings(moved, trials(run))).read_text()
    assert "predicted <b>squat</b>" in page
    assert "<img" not in page
    assert "1 clip without pictures, the first is" in page
    assert "note: 1 clip without pictures, the first is 'dip/" in (printed := capsys.readouterr().out)
    assert printed.endswith("have the frames; --data DIR gives the folder where they are now\n")


def test_test_files_that_are_missing_or_of_another_champion_are_refused(run: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    metrics = copy.test / "metrics.json"
    text = metrics.read_text()
    metrics.write_text(text.replace('"checkpoint_sha256": "', '"checkpoint_sha256": "0'))
    with pytest.raises(ReportError, match="is of another champion than .*; run evaluate again"):
        findings(copy, trials(run))
    metrics.write_text(text)
    predictions = copy.test / "predictions.csv"
    predictions.write_text(predictions.read_text().replace("p(dip)", "p(dips)"))
    with pytest.raises(EvaluationError, match="predictions.csv is damaged or has other classes"):
        findings(copy, trials(run))
    shutil.rmtree(copy.test)
    with pytest.raises(EvaluationError, match="run evaluate first"):
        findings(copy, trials(run))
