"""Print what a sweep finds before its trials, and its result after them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.text import count_noun

if TYPE_CHECKING:
    from models.weights import WeightsReport
    from tuning.cluster.features import FeatureBuild
    from tuning.cluster.plan import SweepPlan
    from tuning.config.run_folder import RunFolder
    from tuning.config.sweep_config import SweepConfig
    from tuning.finish import Outcome
    from tuning.prepare.clips import PreparedData, ScannedData
    from tuning.training.evaluation_metrics import AveragedMetrics


def print_scan(scanned: ScannedData, config: SweepConfig) -> None:
    """Print which files, clips, rows and settings are not used."""
    from data.dataset.split_report import NO_GROUPS
    from tuning.config.unused import untried_architectures

    if not scanned.has_groups:
        print(f"note: {NO_GROUPS}", flush=True)
    for note in scanned.notes:
        print(f"note: {note}", flush=True)
    _print_named("skipped files or folders that are not clips of a class", scanned.ignored)
    _print_named("clips in the folder are not used, because the split does not list them", scanned.unlisted)
    for arch in untried_architectures(config):
        print(f"note: settings for {arch} are ignored: space.arch does not list it")


def _print_named(what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(f"note: {len(names)} {what}: {', '.join(names[:3])}{more}", flush=True)


def print_weights(reports: Mapping[tuple[str, str], WeightsReport]) -> None:
    """Print which weights trials start from, and which of their values do not fit."""
    for (arch, weights), report in reports.items():
        print(f"weights: {arch} starts from {weights}, {len(report.loaded)} values loaded", flush=True)
        if report.note:
            print(f"note: {report.note}")
        _print_named("values of the weights file are not used", report.unexpected)
        _print_named("values of the model start from random numbers", (*report.missing, *report.mismatched))


def print_features(build: FeatureBuild) -> None:
    """Print how many clips the frozen backbones were run on."""
    if build.specs:
        backbones = count_noun(build.specs, "frozen backbone")
        print(f"features: {build.computed} clips computed by {backbones}, {build.found} already stored", flush=True)


def print_nodes(checked: int, *, more_expected: bool) -> None:
    """Print how many nodes were checked."""
    print(f"cluster: {checked} node(s) checked, each reaches the folders and has what trials need", flush=True)
    if more_expected:
        print("note: not all trials fit on them; nodes that start later can't be checked beforehand", flush=True)


def print_dry_run(plan: SweepPlan, scanned: ScannedData) -> None:
    """Print the split and the plan of a sweep that is not run, and what is known only after decoding."""
    from data.dataset.split_report import split_report

    if scanned.split is not None:
        print(split_report(scanned.split), flush=True)
    print(plan.text())
    groups = "" if scanned.split is not None else ", which groups the pictures show and thus the split"
    print(
        "dry run: nothing was decoded, trained or written. Known only after decoding: how long it takes, which clips "
        f"fail, are defective or have the same bytes{groups}"
    )


def print_build(prepared: PreparedData, run: RunFolder) -> None:
    """Print which clips were decoded, left out or suspect, and how they are grouped and split."""
    from data.dataset.split_report import split_report

    build = prepared.build
    print(f"frame store: {build.decoded} clips decoded, {len(build.stored) - build.decoded} already stored", flush=True)
    _print_named("stored clips were damaged and have been decoded again", build.repaired)
    for clip in build.failed:
        print(f"note: {clip.path} is left out, {clip.defect}: {clip.reason}", flush=True)
    _print_defects(prepared, run)
    if prepared.grouping is not None:
        print(f"groups: {prepared.grouping.summary()} ({shown(run.groups)})")
    print(split_report(prepared.split), flush=True)
    left_out = [clip.path for clip in prepared.split.clips("left-out")]
    _print_named("clips are left out, because their class has fewer than three groups", left_out)


def _print_defects(prepared: PreparedData, run: RunFolder) -> None:
    """Print the defects of clips that are used nevertheless."""
    failed = {clip.path for clip in prepared.build.failed}
    suspect: dict[str, list[str]] = {}
    for defect in prepared.defects:
        if defect.path not in failed:
            suspect.setdefault(defect.name, []).append(defect.path)
    for name, paths in suspect.items():
        _print_named(f"suspect clips are used ({name})", paths)
    if suspect:
        print(f"note: {shown(run.defects)} says why", flush=True)


def print_outcome(outcome: Outcome, config: SweepConfig) -> None:
    """Print the leaderboard, the champion with its test scores, and the commands to use next."""
    from tuning.cli.tables import finals_table, leaderboard_table
    from tuning.report.gather import read_failed_clips
    from tuning.search.leaderboard import rank_finalists

    test, best = outcome.test, outcome.champion
    low, high = test.accuracy_wilson_95
    run = shlex.quote(shown(outcome.run.path))
    metric, seeds = config.search.metric, config.search.finalist_seeds
    print(f"\n{leaderboard_table([row for row in outcome.ranked if row.stage == 'search'])}\n")
    for row in outcome.ranked:
        if row.reason:
            print(f"{row.status:<10} {row.id}: {row.reason}")
    if seeds is not None and best.stage == "final":
        print(f"finalists, each with {seeds} seeds that the search did not use\n")
        print(f"{finals_table(rank_finalists(outcome.ranked, metric, seeds), metric)}\n")
    why = f"by {metric}" if best.stage == "search" else f"by mean {metric} over seeds; the median of its {seeds} trials"
    print(f"champion   {best.title} (trial {best.id}, epoch {best.best_epoch}, {why})")
    print(f"test       accuracy {test.accuracy:.3f} (95 % interval {low:.3f} to {high:.3f}, by clip)")
    print(f"           macro-F1 {test.macro_f1:.3f}, {test.num_clips} clips")
    if test.averaged:
        print(f"           {averaged_text(test.averaged)}")
    failed = read_failed_clips(outcome.run)
    if failed:
        print(f"left out   {len(failed)} clips that can't be decoded: {run}/defects.csv")
    print(f"report     {shown(outcome.page)}")
    if outcome.model_version:
        print(f"model      models:/{config.tracking.model_name}/{outcome.model_version}")
    if outcome.promotion:
        print(f"           {outcome.promotion}")
    if outcome.unsent:
        print(f"mlflow     {outcome.unsent}; python -m tuning evaluate --run {run} sends them")
    print(f"label      python -m tuning predict --run {run} CLIP")
    print(f"browse     {_ui_hint(config)}")


def averaged_text(averaged: AveragedMetrics) -> str:
    """Return the scores over several views in one line."""
    counts = {"views": averaged.views, "crops": averaged.crops}
    over = " x ".join(f"{count} {what}" for what, count in counts.items() if count > 1)
    return f"over {over} accuracy {averaged.accuracy:.3f}, macro-F1 {averaged.macro_f1:.3f}"


def _ui_hint(config: SweepConfig) -> str:
    from tuning.config.redact import redact_uri
    from tuning.tracking.server import resolve_uri

    uri = resolve_uri(config.tracking, Path(config.runs_dir))
    if uri.startswith("http"):
        return redact_uri(uri)
    return f"python -m tuning ui --runs {shlex.quote(shown(Path(config.runs_dir)))}"


def shown(path: Path) -> str:
    """Return the path as it can be typed from the current directory."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
