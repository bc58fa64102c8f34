"""`python -m tuning sweep`: run a new sweep, or resume one that was stopped."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from commandline import EXIT_INTERRUPTED, Subcommands
from tuning.cli.console import (
    print_build,
    print_dry_run,
    print_features,
    print_outcome,
    print_scan,
    print_weights,
)
from tuning.cli.stopped_sweep import finish_stopped, has_ended, report_ended
from tuning.cli.sweep_checks import (
    check_machines,
    check_mlflow,
    check_run_outputs,
    check_settings,
    checked_ray_address,
)
from tuning.cli.sweep_settings import new_config, resumed_config

if TYPE_CHECKING:
    from tuning.cluster.plan import SweepPlan
    from tuning.cluster.profile_task import SweepProfile
    from tuning.config.run_folder import RunFolder
    from tuning.config.sweep_config import SweepConfig
    from tuning.prepare.clips import PreparedData, ScannedData
    from tuning.report.provenance import RunProcess
    from tuning.search.trial_result import TrialResult
    from tuning.training.trial_data import TrialData
    from tuning.trial.spec import Slot


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "sweep",
        help="try every setting, choose the champion by validation, test it once",
        description="Try architectures, samplers, learning rates and frame counts; choose the champion by validation "
        "and evaluate it on the test split. Results go to runs/NAME and to MLflow.",
        epilog="Each KEY=VALUE overrides a setting of the file, such as train.epochs=3 space.arch=[c3d]; "
        "docs/configuration.md describes every setting.",
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="settings, such as configs/demo.yaml")
    command.add_argument("--data", metavar="DIR", help="folder of clips, one sub-folder per class (data.dir)")
    command.add_argument(
        "--split",
        metavar="CSV|folders|merge",
        help="use this split instead of creating one; `folders` uses folders such as train, val and test, `merge` "
        "ignores them (data.split)",
    )
    command.add_argument(
        "--labels",
        action="append",
        metavar="FILE",
        help="file with the class of each clip; may be repeated (data.labels)",
    )
    command.add_argument(
        "--merge-classes",
        action="store_true",
        help="make one class of classes whose names look alike (data.merge_classes)",
    )
    command.add_argument(
        "--groups",
        metavar="CSV[:COLUMN]",
        help="keep the clips of a group in one split; `auto` finds groups from the pictures (data.groups)",
    )
    command.add_argument("--folds", type=int, metavar="K", help="score trials by K-fold cross-validation (data.folds)")
    command.add_argument(
        "--few-groups",
        choices=("refuse", "leave-out", "train"),
        help="what to do with a class of fewer than three groups (data.few_groups)",
    )
    command.add_argument(
        "--weights-dir",
        metavar="DIR",
        help="folder of pretrained weights files, searched before the network (weights_dir)",
    )
    command.add_argument("--name", help="name of the run folder; default: name of the config and the time")
    command.add_argument("--resume", metavar="NAME", help="resume a stopped run; takes no other setting")
    command.add_argument(
        "--finish",
        metavar="NAME",
        help="end a stopped run with the champion of the trials that are done; takes no other setting",
    )
    command.add_argument(
        "--address", metavar="HOST:PORT", help="Ray cluster to run on (or RAY_ADDRESS); default: this machine"
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="make all checks and print the plan (trials, time, disk, memory); decode, train and write nothing",
    )
    command.add_argument("--verbose", action="store_true", help="show the output of Ray and of the workers")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings that override the file's")
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from tuning.config.run_folder import RunFolder
    from tuning.prepare.clips import scan

    # In the order of the time that each takes: a typing error is refused before PyTorch and Ray are imported.
    if args.finish:
        return finish_stopped(args)
    config = resumed_config(args) if args.resume else new_config(args)
    assert config.name is not None
    run = RunFolder(Path(config.runs_dir) / config.name)
    if args.resume and has_ended(run):
        return report_ended(run)
    check_run_outputs(run, config, new=not args.resume)
    address = checked_ray_address(args)
    scanned = scan(config.data, resumed=bool(args.resume))
    check_settings(config)

    from tuning.cluster.connect import connected
    from tuning.finish import finish
    from tuning.prepare.weights import prepare_weights
    from tuning.report.provenance import end_process
    from tuning.sweep import Interrupted

    print_scan(scanned, config)
    if not args.resume:
        check_mlflow(config)
    print_weights(prepare_weights(config, scanned.num_classes))
    with connected(address, verbose=args.verbose, state_api=not config.resources.reuse_workers):
        slot = check_machines(scanned, config, new=not args.resume, on_cluster=address is not None)
        if args.dry_run:
            print_dry_run(_plan_without_decoding(run, config, scanned, slot), scanned)
            return 0
        prepared, plan = _prepare(args, run, config, scanned, slot)
        started = time.monotonic()
        try:
            results = _run_trials(run, config, prepared, plan, verbose=args.verbose)
        except Interrupted:
            print(f"\nstopped before all trials ended; {_resume_hint(run)}")
            print(f"or end it with the trials that are done: python -m tuning sweep --finish {run.cli_name}")
            return EXIT_INTERRUPTED
        seconds = time.monotonic() - started
    end_process(run.provenance, seconds, plan.max_concurrent)
    print_outcome(finish(run, config, results), config)
    return 0


def _prepare(
    args: argparse.Namespace, run: RunFolder, config: SweepConfig, scanned: ScannedData, slot: Slot
) -> tuple[PreparedData, SweepPlan]:
    """Decode the clips, run frozen backbones, profile trials, create the run folder, plan how the trials fit."""
    from tuning.cluster.features import build_features
    from tuning.cluster.placement import alive_nodes
    from tuning.cluster.plan import plan_sweep
    from tuning.cluster.profile_task import save_profile
    from tuning.prepare.clips import prepare
    from tuning.report.provenance import add_process
    from tuning.run_setup import new_run

    started = time.monotonic()
    prepared = prepare(scanned, config, progress=True)
    seconds_decoding = time.monotonic() - started
    print_build(prepared, run)
    data = prepared.trial_data()
    print_features(build_features(config, data, gpu=slot.gpus > 0, progress=True))
    profile = _profile(run, config, data, slot, new=not args.resume)
    if not args.resume:
        new_run(run, config, prepared)
    add_process(run.provenance, _this_process(args.words, prepared.build.decoded, seconds_decoding))
    if profile.profiles:
        save_profile(profile, run.profile)
    plan = plan_sweep(config, data, profile, alive_nodes())
    print(plan.text(), flush=True)
    return prepared, plan


def _plan_without_decoding(run: RunFolder, config: SweepConfig, scanned: ScannedData, slot: Slot) -> SweepPlan:
    from tuning.cluster.features import build_features
    from tuning.cluster.placement import alive_nodes
    from tuning.cluster.plan import plan_sweep
    from tuning.prepare.dry_run import undecoded_data

    with undecoded_data(scanned, config) as data:
        build_features(config, data, gpu=slot.gpus > 0, progress=False)
        return plan_sweep(config, data, _profile(run, config, data, slot, new=False), alive_nodes())


def _profile(run: RunFolder, config: SweepConfig, data: TrialData, slot: Slot, *, new: bool) -> SweepProfile:
    """Return the stored profile of the run's trials, or profile them now, while MLflow's database is created."""
    from tuning.cluster.placement import alive_nodes, count_fitting_trials
    from tuning.cluster.profile_task import SweepProfile, load_profile, profile_trials
    from tuning.tracking.server import initialise_store, resolve_uri

    def meanwhile() -> None:
        if new:
            initialise_store(resolve_uri(config.tracking, Path(config.runs_dir)), Path(config.runs_dir))

    if not config.resources.measure:
        return SweepProfile()
    stored = load_profile(run.profile, slot)
    if stored is not None:
        return stored
    if not count_fitting_trials(slot, alive_nodes()):
        print("note: no node is available yet to profile trials on", flush=True)
        return SweepProfile()
    print("profiling trials …", flush=True)
    profile = profile_trials(config, data, slot, meanwhile)
    for failure in profile.failures:
        print(f"note: {failure.arch} could not be profiled: {failure.reason}", flush=True)
    return profile


def _run_trials(
    run: RunFolder, config: SweepConfig, prepared: PreparedData, plan: SweepPlan, *, verbose: bool
) -> list[TrialResult]:
    from tuning.cluster.connect import head_address, warn_if_head_stops
    from tuning.sweep import run_sweep

    lost = f"The Ray head node no longer responds. Once one runs again, {_resume_hint(run)}"
    with warn_if_head_stops(head_address(), lost):
        return run_sweep(run, config, prepared, plan.slot, plan.max_concurrent, verbose=verbose)


def _resume_hint(run: RunFolder) -> str:
    return f"resume with: python -m tuning sweep --resume {run.cli_name}"


def _this_process(words: list[str], decoded: int, seconds_decoding: float) -> RunProcess:
    """Describe this process and the connected cluster for the run's provenance."""
    import ray

    from tuning.report.provenance import (
        RunProcess,
        cluster_summary,
        package_versions,
        processor_name,
        redacted_command,
    )

    return RunProcess(
        command=redacted_command(words),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=processor_name(),
        cluster=cluster_summary([node["Resources"] for node in ray.nodes() if node["Alive"]]),
        versions=package_versions(),
        decoded=decoded,
        seconds_decoding=round(seconds_decoding, 1),
    )
