"""The settings of a sweep, from the command line of `python -m tuning sweep`."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuning.config.sweep_config import SweepConfig

_SETTINGS = (
    *("config", "data", "split", "labels", "merge_classes", "groups", "folds", "few_groups", "weights_dir", "name"),
    "dry_run",
)
"""Arguments that make a new sweep what it is."""


def new_config(args: argparse.Namespace) -> SweepConfig:
    """Return the settings of a new sweep: those of the file, overridden by the command line."""
    from tuning.cluster.submitted_job import check_lasting_paths, working_dir_copy
    from tuning.config.load import read_config
    from tuning.config.paths import absolute_paths
    from tuning.config.run_folder import LATEST
    from tuning.config.unused import check_given_settings
    from tuning.errors import ConfigError

    if args.name == LATEST:
        raise ConfigError(f"a run can't be called {LATEST!r}, which stands for the newest run: give another --name")
    if args.config is None:
        raise ConfigError("no settings: give --config FILE, such as configs/demo.yaml, or --resume NAME")
    flags = {
        "name": args.name,
        "data.dir": args.data,
        "data.split": args.split,
        "data.labels": args.labels,
        "data.groups": args.groups,
        "data.few_groups": args.few_groups,
        "weights_dir": args.weights_dir,
    }
    overrides = [*args.overrides, *([f"data.folds={args.folds}"] if args.folds is not None else [])]
    overrides += ["data.merge_classes=true"] if args.merge_classes else []
    config = read_config(args.config, overrides, {k: v for k, v in flags.items() if v is not None})
    check_given_settings(config)
    name = config.name or f"{args.config.stem}-{datetime.now():%Y%m%d-%H%M%S}"
    config = absolute_paths(config.model_copy(update={"name": name}))
    check_lasting_paths(config, working_dir_copy(Path.cwd()))
    return config


def resumed_config(args: argparse.Namespace) -> SweepConfig:
    """Return the run's own settings with its own split; other settings would mix two sweeps in one folder."""
    from tuning.config.run_folder import find_run

    refuse_settings(args, "--resume")
    run = find_run(args.resume)
    config = run.read_config()
    data = config.data.model_copy(update={"split": str(run.split), "groups": None, "labels": ()})
    return config.model_copy(update={"data": data})


def refuse_settings(args: argparse.Namespace, option: str) -> None:
    """Check that the command line changes nothing of an earlier run.

    Args:
        args: the parsed command line.
        option: the option that names the run, such as `--resume`.

    Raises:
        ConfigError: the command line has settings.
    """
    from tuning.errors import ConfigError

    given = [f"--{name.replace('_', '-')}" for name in _SETTINGS if getattr(args, name)]
    if given or args.overrides:
        raise ConfigError(f"{option} uses the run's own settings: leave out {' '.join([*given, *args.overrides])}")
