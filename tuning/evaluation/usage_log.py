"""The log of uses of a test split: one line of JSON per evaluated model, in the run that evaluated it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from data.dataset.splits import Split
from tuning.config.run_folder import RunFolder
from tuning.text import count_noun

Purpose = Literal["champion", "frame order"]


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """One evaluation of a model on a test split: a line of `test_log.jsonl`."""

    time: str
    """UTC, ISO 8601."""
    purpose: Purpose
    """`champion`, or `frame order` for a model that was evaluated on reordered frames only."""
    checkpoint_sha256: str
    test_sha256: str
    """Hash of the test clips and their labels."""


@dataclass(frozen=True, slots=True)
class UsageCount:
    """How often a test split was used by all runs in one folder."""

    evaluations: int
    """Evaluations of champions."""
    champions: int
    """Different champions."""
    runs: int
    """Runs that evaluated a champion."""
    others: int
    """Other models that were evaluated on it; none was chosen by the result."""

    @property
    def sentence(self) -> str:
        """The counts in words, with a warning if several champions were evaluated."""
        times = "once" if self.evaluations == 1 else f"{self.evaluations} times"
        champions = ""
        if self.evaluations != 1:
            champions = f", for {count_noun(self.champions, 'champion')} of {count_noun(self.runs, 'run')}"
        warning = ""
        if self.champions > 1:
            warning = (
                " If you pick the best of several champions by their test scores, its score is too good and no longer "
                "measures how it does on new clips."
            )
        others = ""
        if self.others:
            verb = "was" if self.others == 1 else "were"
            others = (
                f" {count_noun(self.others, 'other model')} {verb} evaluated on it to compare orders of frames; "
                "nothing was chosen by that."
            )
        return f"This test split has been used {times}{champions}.{warning}{others}"


def _test_sha256(split: Split) -> str:
    """Return the hash of the test clips and their labels: two splits may have the same test clips."""
    rows = "".join(f"{clip.path}\0{clip.label}\0" for clip in split.clips("test"))
    return hashlib.sha256(rows.encode()).hexdigest()


def log_test_use(run: RunFolder, split: Split, checkpoint_sha256: str, purpose: Purpose) -> None:
    """Log that a model is about to be evaluated on the test split.

    Call it before the evaluation: one that fails midway has used the labels too.
    """
    entry = UsageEntry(datetime.now(UTC).isoformat(timespec="seconds"), purpose, checkpoint_sha256, _test_sha256(split))
    with run.usage_log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(entry)) + "\n")


def count_test_uses(run: RunFolder, split: Split) -> UsageCount:
    """Count the uses of a split's test clips by this run and by the other runs in the same folder."""
    sha256 = _test_sha256(split)
    by_run = {
        folder: [entry for entry in _read_log(RunFolder(folder)) if entry.test_sha256 == sha256]
        for folder in sorted(run.path.parent.iterdir())
        if folder.is_dir()
    }
    of_champions = {folder: [each for each in log if each.purpose == "champion"] for folder, log in by_run.items()}
    champions = {entry.checkpoint_sha256 for log in of_champions.values() for entry in log}
    others = {entry.checkpoint_sha256 for log in by_run.values() for entry in log} - champions
    return UsageCount(
        evaluations=sum(map(len, of_champions.values())),
        champions=len(champions),
        runs=sum(bool(log) for log in of_champions.values()),
        others=len(others),
    )


def _read_log(run: RunFolder) -> Iterator[UsageEntry]:
    """Yield the entries of a run's log; a line that a kill or a full disk cut short is not counted."""
    if not run.usage_log.is_file():
        return
    for line in run.usage_log.read_text(encoding="utf-8").splitlines():
        try:
            yield UsageEntry(**json.loads(line))
        except (ValueError, TypeError):
            print(f"note: a damaged line of {run.usage_log} is not counted", flush=True)
