"""Sweeps that have ended or were stopped: nothing is left to resume, or they end with the trials that are done."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tuning.cli.console import print_outcome, shown
from tuning.cli.sweep_settings import refuse_settings

if TYPE_CHECKING:
    from tuning.config.run_folder import RunFolder


def has_ended(run: RunFolder) -> bool:
    """Return whether a sweep has written its report, so that nothing is left to resume."""
    from tuning.run_setup import has_written_report

    return has_written_report(run)


def report_ended(run: RunFolder) -> int:
    """Print that nothing is left to resume; the test split is not used again unless the user says so."""
    from tuning.tracking.tracker import open_tracker

    with open_tracker(run) as tracker:
        unsent = tracker.send(patience=0)
    print(f"{run.path.name} has ended: report in {shown(run.report)}; nothing was done")
    print(f"to test its champion again, which is counted: python -m tuning evaluate --run {run.cli_name}")
    if unsent:
        print(f"note: {unsent}")
    return 0


def finish_stopped(args: argparse.Namespace) -> int:
    """End the stopped sweep `args.finish` with the champion of the trials that are done; return the exit code."""
    from tuning.config.run_folder import find_run
    from tuning.errors import ConfigError

    refuse_settings(args, "--finish")
    if args.resume:
        raise ConfigError("--finish ends a run and --resume continues it: give one of them")
    run = find_run(args.finish)
    if has_ended(run):
        return report_ended(run)

    from tuning.finish import finish_early

    print_outcome(finish_early(run), run.read_config())
    return 0
