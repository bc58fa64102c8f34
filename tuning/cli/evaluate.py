"""`python -m tuning evaluate`: test a run's champion on its test split."""

from __future__ import annotations

import argparse

from commandline import Subcommands
from tuning.cli.args import add_data_option, add_run_option, check_data_option
from tuning.cli.console import averaged_text, shown


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("evaluate", help="evaluate a run's champion on its test split")
    add_run_option(command)
    add_data_option(command)
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from tuning.config.run_folder import find_run

    run = find_run(str(args.run))
    check_data_option(args.data)

    # These take seconds to import.
    from tuning.evaluation.evaluate import evaluate_run
    from tuning.finish import read_contenders
    from tuning.tracking.tracker import open_tracker

    config, others = run.read_config(), read_contenders(run)
    if not run.tracking.exists():
        metrics, unsent, promotion = evaluate_run(run, others, data=args.data, progress=True), "", ""
    else:
        with open_tracker(run) as tracker:
            metrics = evaluate_run(run, others, data=args.data, progress=True)
            tracker.events.log_test(config.tracking.promote)
            unsent = tracker.send(config.tracking.patience)
            if unsent and not tracker.unavailable:
                unsent += "; run the same command again to send them"
            promotion = tracker.writer.promotion
    print(f"test accuracy {metrics.accuracy:.3f}, macro-F1 {metrics.macro_f1:.3f}, ", end="")
    print(f"{metrics.num_clips} clips; report in {shown(run.test)}")
    if metrics.averaged:
        print(f"test {averaged_text(metrics.averaged)}")
    if metrics.failed_clips:
        first, reason = next(iter(metrics.failed_clips.items()))
        print(f"note: {len(metrics.failed_clips)} test clips can't be read and are not counted: {first}: {reason}")
    if promotion:
        print(f"registered model: {promotion}")
    if unsent:
        print(f"note: {unsent}")
    return 0
