"""How often a test split was used: a line an evaluation, in the run that did it."""

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
class Use:
    """One evaluation on a test split."""

    time: str
    """UTC, ISO 8601."""
    purpose: Purpose
    """`champion`, or `frame order` for a model that was only asked whether it sees time."""
    checkpoint_sha256: str
    test_sha256: str


@dataclass(frozen=True, slots=True)
class Uses:
    """What a test split was used for so far, by this run and by those beside it."""

    evaluations: int
    """Of champions."""
    champions: int
    """Different ones."""
    runs: int
    """Runs that evaluated a champion on it."""
    others: int
    """Other models that were looked at on it; none was chosen by that."""

    @property
    def sentence(self) -> str:
        """For people."""
        times = "once" if self.evaluations == 1 else f"{self.evaluations} times"
        of = (
            ""
            if self.evaluations == 1
            else f", for {count_noun(self.champions, 'champion')} of {count_noun(self.runs, 'run')}"
        )
        more = ""
        if self.champions > 1:
            more = " Whoever picks the best of several champions by it flatters that one: its score is then no test."
        beside = ""
        if self.others:
            beside = (
                f" {count_noun(self.others, 'other model')} answered it to ask about time; none was chosen by that."
            )
        return f"This test split has been used {times}{of}.{more}{beside}"


def _hash_of_test(split: Split) -> str:
    """Of the test clips and their labels alone: two splits may share a test part."""
    rows = "".join(f"{clip.path}\0{clip.label}\0" for clip in split.clips("test"))
    return hashlib.sha256(rows.encode()).hexdigest()


def log_use(run: RunFolder, split: Split, checkpoint_sha256: str, purpose: Purpose) -> None:
    """Note that the test split is about to be used: one that fails midway has seen the labels, too."""
    use = Use(datetime.now(UTC).isoformat(timespec="seconds"), purpose, checkpoint_sha256, _hash_of_test(split))
    with run.usage_log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(use)) + "\n")


def count_uses(run: RunFolder, split: Split) -> Uses:
    """By this run and by the other runs in the same folder."""
    wanted = _hash_of_test(split)
    by_run = {
        folder: [use for use in _read(RunFolder(folder)) if use.test_sha256 == wanted]
        for folder in sorted(run.path.parent.iterdir())
        if folder.is_dir()
    }
    of_champions = {folder: [use for use in uses if use.purpose == "champion"] for folder, uses in by_run.items()}
    champions = {use.checkpoint_sha256 for uses in of_champions.values() for use in uses}
    others = {use.checkpoint_sha256 for uses in by_run.values() for use in uses} - champions
    return Uses(
        evaluations=sum(map(len, of_champions.values())),
        champions=len(champions),
        runs=sum(bool(uses) for uses in of_champions.values()),
        others=len(others),
    )


def _read(run: RunFolder) -> Iterator[Use]:
    """A line that a kill or a full disk cut short is an evaluation of which nothing else is known, and not counted."""
    if not run.usage_log.is_file():
        return
    for line in run.usage_log.read_text(encoding="utf-8").splitlines():
        try:
            yield Use(**json.loads(line))
        except (ValueError, TypeError):
            print(f"note: a damaged line of {run.usage_log} is not counted", flush=True)
