"""The report: one HTML file to read and to send on, and beside it the numbers of each of its plots."""

from __future__ import annotations

import base64
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data.loading.clip_view import eval_frames
from data.page import frame_strip, load_template
from tuning.evaluation.frame_order import sentence as time_sentence
from tuning.inference.champion import Champion
from tuning.report.figures import class_table, figures, leaderboard, metric_name
from tuning.report.findings import Findings, left_out
from tuning.training.bootstrap import Interval

INDEX = "index.html"
MOST_CLIPS = 12
"""Clips shown of each kind; the tables have all."""

FEWEST = 10
"""Test clips of a class below which its figures carry little: one clip more or less changes recall by a tenth."""

_STRIP_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Shown:
    """A clip with what is said of it."""

    clip: str
    label: str
    said: str
    probability: float
    image: str
    """A strip of the frames that the model saw, as data URI; empty where the store lacks them."""


@dataclass(frozen=True, slots=True)
class Download:
    """Numbers as a CSV inside the page."""

    file: str
    uri: str


def write_report(found: Findings) -> Path:
    """Write the page and the numbers of its plots; replaces an earlier report as a whole.

    Pictures of clips need the data folder; clips that are gone or can't be decoded are named without.

    Returns:
        The page.
    """
    folder = found.run.report
    aside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "data").mkdir(parents=True)
    drawn = figures(found)
    tables = {name: figure.numbers for name, figure in drawn.items()} | _tables(found)
    for name, table in tables.items():
        table.to_csv(aside / "data" / f"{name}.csv", index=False, lineterminator="\n")
    pictures = _Pictures(found)
    page = load_template(Path(__file__).with_name("page.html.j2")).render(
        found=found,
        figures=drawn,
        downloads={name: _download(name, table) for name, table in tables.items()},
        classes=_class_rows(found),
        board=_board(found),
        metric=metric_name(found),
        time=time_sentence(found.probes),
        mistakes=list(pictures.mistakes()),
        issues=list(pictures.issues()),
        few=FEWEST,
        intervals=_intervals(found),
        parts=Counter(row.split for row in found.split.rows),
        left_out=left_out(found.run, found.split),
        answered=found.answered,
        clips=len(found.answers.groups),
        recordings=len(set(found.answers.groups)),
    )
    (aside / INDEX).write_text(page, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder / INDEX


def _tables(found: Findings) -> dict[str, pd.DataFrame]:
    return {
        "leaderboard": leaderboard(found),
        "mistakes": pd.DataFrame(
            [(m.clip, m.label, m.predicted, m.probability) for m in found.mistakes],
            columns=["clip", "label", "predicted", "probability"],
        ),
        "label_issues": pd.DataFrame(
            [(i.clip, i.label, i.suggested, i.p_label, i.p_suggested) for i in found.label_issues],
            columns=["clip", "label", "suggested", "p_label", "p_suggested"],
        ),
    }


def _download(name: str, table: pd.DataFrame) -> Download:
    text = table.to_csv(index=False, lineterminator="\n").encode()
    return Download(f"{name}.csv", "data:text/csv;base64," + base64.b64encode(text).decode())


def _class_rows(found: Findings) -> list[dict[str, object]]:
    return [{str(key): value for key, value in row.items()} for row in class_table(found).to_dict("records")]


def _board(found: Findings) -> list[dict[str, object]]:
    """The leaderboard's cells as text, with what to sort by."""
    table = leaderboard(found)
    kept = table.drop(columns=[name for name in ("stage", "seed") if table[name].nunique() < 2])
    return [{str(key): value for key, value in row.items()} for row in kept.to_dict("records")]


def _intervals(found: Findings) -> dict[str, Interval]:
    test = found.test
    return {
        "accuracy": Interval(**test["accuracy_group_95"]),
        "macro_f1": Interval(**test["macro_f1_group_95"]),
        "wilson": Interval(*test["accuracy_wilson_95"]),
    }


class _Pictures:
    """Strips of the frames that the champion saw, with where it looked."""

    def __init__(self, found: Findings) -> None:
        self._champion = Champion(found.run.best)
        self._classes = found.classes
        self._mistakes, self._issues = found.mistakes[:MOST_CLIPS], found.label_issues[:MOST_CLIPS]
        self._store = found.config.store.open(found.manifest.decode)
        clips = {each.clip for each in self._mistakes} | {each.clip for each in self._issues}
        self._digests = self._stored(found, sorted(clips))

    def _stored(self, found: Findings, clips: list[str]) -> Mapping[str, str]:
        root = Path(found.config.data.dir)
        there = [clip for clip in clips if (root / clip).is_file()]
        if not there:
            return {}
        build = self._store.build(root, there, workers=1, progress=False)
        return build.digests()

    def mistakes(self) -> Iterator[Shown]:
        """The most confident mistakes on the test clips, Grad-CAM for what was said."""
        for each in self._mistakes:
            picture = self._strip(each.clip, self._classes.index(each.predicted))
            yield Shown(each.clip, each.label, each.predicted, each.probability, picture)

    def issues(self) -> Iterator[Shown]:
        """The validation clips whose label is likely wrong."""
        for each in self._issues:
            yield Shown(each.clip, each.label, each.suggested, each.p_suggested, self._strip(each.clip, None))

    def _strip(self, clip: str, target: int | None) -> str:
        if clip not in self._digests:
            return ""
        stored = self._store.read(self._digests[clip])
        frames = eval_frames(stored, self._champion.selection, self._champion.transform)
        heat = None if target is None else self._champion.where_it_looks(frames, target)
        chosen = _spread(len(frames))
        return frame_strip(frames[chosen].permute(0, 2, 3, 1).numpy(), None if heat is None else heat[chosen])


def _spread(frames: int) -> list[int]:
    """At most `_STRIP_FRAMES` of so many frames, from the middles of equal parts."""
    count = min(frames, _STRIP_FRAMES)
    return [int((number + 0.5) / count * frames) for number in range(count)]
