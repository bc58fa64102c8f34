"""Write the report: one self-contained HTML page, and the data of each plot and table as CSV."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data.files import write_folder_atomically
from data.page import load_template
from tuning.evaluation.clip_source import ClipSource, open_clip_source
from tuning.evaluation.frame_order_sentence import frame_order_sentence
from tuning.report.clip_examples import ClipExamples
from tuning.report.findings import SweepFindings
from tuning.report.plots.paired_differences import paired_differences_plot
from tuning.report.sections import draw_sections
from tuning.report.tables import class_table, label_issue_table, mistake_table, trial_table
from tuning.text import count_noun

_PAGE = "index.html"

MAX_EXAMPLES = 12
"""Clips that the page shows of each kind; the CSV files list all."""

MIN_TEST_CLIPS = 10
"""The page warns of a class with fewer test clips: one clip then changes its recall by more than a tenth."""

_HIDDEN_COLUMNS = ("champion", "val_macro_f1_low", "val_macro_f1_high", "reason")
"""Columns of the trial table that the page shows in other cells."""


@dataclass(frozen=True, slots=True)
class CsvDownload:
    """A CSV file inside the page."""

    file: str
    uri: str


def write_report(findings: SweepFindings, data: Path | None = None) -> Path:
    """Write the page and the CSV files of a run's `report/` folder, in place of an earlier report.

    Clips of which there is neither the file nor the frames in the frame store have no pictures, as the page and a note
    on the terminal say.

    Args:
        findings: the results of the sweep.
        data: folder of the clips; default: where the sweep read them, or where they were moved to with the run.

    Returns:
        The page.

    Raises:
        DataError: `data` lacks a clip that the page shows, or has another file of its name.
    """
    with open_clip_source(findings.run, findings.config, findings.manifest.decode, data) as source:
        return _write_report(findings, source)


def _write_report(findings: SweepFindings, source: ClipSource) -> Path:
    sections = draw_sections(findings)
    comparisons = [(each, paired_differences_plot(each)) for each in findings.comparisons]
    plots = [plot for section in sections.values() for plot in section]
    plots += [plot for _, plot in comparisons if plot is not None]
    tables = {plot.name: plot.data for plot in plots} | {
        "leaderboard": trial_table(findings),
        "mistakes": mistake_table(findings),
        "label_issues": label_issue_table(findings),
    }
    examples = ClipExamples(findings, source, MAX_EXAMPLES)
    missing = _missing_pictures(examples, source)
    page = load_template(Path(__file__).with_name("page.html.j2")).render(
        findings=findings,
        test=findings.test,
        sections=sections,
        comparisons=comparisons,
        downloads={name: _download(name, table) for name, table in tables.items()},
        classes=_rows(class_table(findings)),
        trials=_rows(_without_constant(tables["leaderboard"])),
        hidden_columns=_HIDDEN_COLUMNS,
        time_sentence=frame_order_sentence(findings.probes),
        mistakes=examples.mistakes(),
        label_issues=examples.label_issues(),
        missing_pictures=missing,
        min_test_clips=MIN_TEST_CLIPS,
        split_counts=Counter(row.split for row in findings.split.rows),
        test_groups=len(set(findings.predicted.groups)),
    )
    with write_folder_atomically(findings.run.report) as folder:
        (folder / "data").mkdir()
        for name, table in tables.items():
            (folder / "data" / f"{name}.csv").write_text(_csv(table), encoding="utf-8")
        (folder / _PAGE).write_text(page, encoding="utf-8")
    if missing:
        print(f"note: {missing}; --data DIR gives the folder where they are now", flush=True)
    return findings.run.report / _PAGE


def _missing_pictures(examples: ClipExamples, source: ClipSource) -> str:
    """Return which clips have no pictures and why; empty if all have them."""
    if not examples.missing:
        return ""
    return (
        f"{count_noun(len(examples.missing), 'clip')} without pictures, the first is {examples.missing[0]!r}: neither "
        f"the clips in {str(source.folder)!r} nor the frame store {str(source.store.root)!r} have the frames"
    )


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))


def _download(name: str, table: pd.DataFrame) -> CsvDownload:
    return CsvDownload(f"{name}.csv", "data:text/csv;base64," + base64.b64encode(_csv(table).encode()).decode())


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _without_constant(trials: pd.DataFrame) -> pd.DataFrame:
    """Drop stage and seed if all trials have the same."""
    return trials.drop(columns=[name for name in ("stage", "seed") if trials[name].nunique() < 2])
