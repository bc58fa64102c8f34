"""The sweep's command line: `python -m tuning {sweep,evaluate,report,predict,export,app,ui}`.

Decoding processes import this module again when they start: what a command needs is imported by that command.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from commandline import EXIT_INTERRUPTED, EXIT_USER_ERROR, add_version, run_command
from data.errors import DataError
from models.errors import ModelError
from tuning.cli.console import averaged_text, print_build, print_nodes, print_outcome, print_scan, print_weights, shown
from tuning.errors import TuningError

if TYPE_CHECKING:
    from tuning.cluster.profile_task import Measured
    from tuning.config.run_dir import RunFolder
    from tuning.config.sweep_config import SweepConfig
    from tuning.report.provenance import Process
    from tuning.training.inputs import TrialData
    from tuning.trial.spec import Slot


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run_command(_parse(argv), DataError, ModelError, TuningError)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """As argparse does, but KEY=VALUE may stand before, between and behind the options."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    args.words = sys.argv[1:] if argv is None else list(argv)
    if hasattr(args, "overrides"):
        args.overrides += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuning", description="Find and test the best classifier of your workout clips."
    )
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_sweep(commands)
    _add_evaluate(commands)
    _add_report(commands)
    _add_predict(commands)
    _add_export(commands)
    _add_app(commands)
    _add_ui(commands)
    return parser


def _add_sweep(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "sweep",
        help="try every setting, choose the champion by validation, test it once",
        description="Try architectures, samplers, learning rates and frame counts; choose the champion by validation "
        "and evaluate it on the test split. Results go to runs/NAME and to MLflow.",
        epilog="Each KEY=VALUE overrides a setting of the file, such as train.epochs=3 space.arch=[c3d]; the settings "
        "are described in tuning/config/sweep_config.py.",
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="settings, such as configs/demo.yaml")
    command.add_argument("--data", metavar="DIR", help="folder of clips, one sub-folder a class (data.dir)")
    command.add_argument("--split", metavar="CSV", help="use this split instead of making one (data.split)")
    command.add_argument(
        "--groups",
        metavar="CSV[:COLUMN]",
        help="clips of one group never stand in two splits; `auto` finds groups from the pictures (data.groups)",
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
        help="folder of the files of pretrained weights, looked into before the network (weights_dir)",
    )
    command.add_argument("--name", help="name of the run's folder; default: the config's name and the time")
    command.add_argument("--resume", metavar="NAME", help="go on with a run that was stopped; takes no other setting")
    command.add_argument("--address", metavar="HOST:PORT", help="Ray cluster to run on (or RAY_ADDRESS); default: here")
    command.add_argument("--verbose", action="store_true", help="show Ray's and the workers' own output")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings that override the file's")
    command.set_defaults(command=_sweep)


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("evaluate", help="evaluate a run's champion on its test split")
    command.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run's folder, runs/NAME")
    command.set_defaults(command=_evaluate)


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("report", help="make the report of a sweep anew, without touching the test split")
    command.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run's folder, runs/NAME")
    command.set_defaults(command=_report)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "predict",
        help="label clips and long videos with a run's champion",
        description="Label clips. A video much longer than the training's clips is cut into segments: what from when "
        "to when. Answers go to stdout, all else to stderr.",
    )
    _add_champion(command)
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="video files, and folders of them")
    command.add_argument("--top", type=int, default=1, metavar="K", help="likeliest classes to show; default: 1")
    command.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    command.add_argument("--out", type=Path, metavar="FILE", help="write the answers there, not to stdout")
    command.add_argument("--no-abstain", action="store_true", help="give an answer even where none is likely enough")
    command.add_argument("--batch", type=int, metavar="N", help="clips or windows at once; default: as trained")
    command.add_argument("--long", action="store_true", help="cut all videos into segments, however short")
    command.add_argument(
        "--window",
        type=float,
        metavar="SECONDS",
        help="seconds of a long video that the model sees at once; default: as long as the training's clips are",
    )
    command.add_argument(
        "--hop", type=float, metavar="SECONDS", help="from a window to the next; default: half a window"
    )
    command.add_argument("--plot", type=Path, metavar="FILE", help="picture of one long video's segments, .png or .svg")
    command.set_defaults(command=_predict)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("export", help="write a run's champion as files for other programs")
    command.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run's folder, runs/NAME")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="model.pt2, model.onnx and model.json")
    command.set_defaults(command=_export)


def _add_champion(command: argparse.ArgumentParser) -> None:
    champion = command.add_mutually_exclusive_group(required=True)
    champion.add_argument("--run", type=Path, metavar="DIR", help="a run's folder, runs/NAME")
    champion.add_argument("--model", type=Path, metavar="DIR", help="a champion's folder, such as runs/NAME/best")


def _add_app(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "app", help="serve a page to try the champion on clips", description="Nothing leaves this machine."
    )
    _add_champion(command)
    command.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    command.add_argument("--port", type=int, default=7860, help="default: 7860")
    command.set_defaults(command=_app)


def _add_ui(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("ui", help="serve MLflow's pages over the runs")
    command.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    command.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    command.add_argument("--port", type=int, default=5000, help="default: 5000")
    command.set_defaults(command=_ui)


def _sweep(args: argparse.Namespace) -> int:
    from tuning.cluster.address import check_address, use_token_if_asked

    config = _resumed_config(args) if args.resume else _new_config(args)
    address = args.address or os.environ.get("RAY_ADDRESS") or None
    check_address(address)
    use_token_if_asked(address)

    # Once the settings are known to be good: these take seconds to import.
    from tuning.cluster.connect import connected, head_address, told_when_gone
    from tuning.cluster.placement import alive_nodes, plan_slots, trials_that_fit
    from tuning.cluster.plan import make_plan
    from tuning.cluster.profile_task import keep
    from tuning.config.run_dir import RunFolder
    from tuning.prepare import check_cluster, check_weights_dir, prepare, prepare_weights, scan
    from tuning.report.provenance import add_process, end_process
    from tuning.run_setup import check_writable, has_ended, new_run, refuse_existing
    from tuning.sweep import Interrupted, finish, run_sweep
    from tuning.tracking.server import check_reachable, resolve_uri

    assert config.name is not None
    run = RunFolder(Path(config.runs_dir) / config.name)
    if args.resume and has_ended(run):
        return _tell_of_end(run)
    if not args.resume:
        refuse_existing(run)
        # A run that goes on has a file for what MLflow misses meanwhile.
        check_reachable(resolve_uri(config.tracking, Path(config.runs_dir)))
    check_writable(run)
    check_weights_dir(config.weights_dir)
    scanned = scan(config.data)
    print_scan(scanned, config)
    print_weights(prepare_weights(config, scanned.num_classes))
    with connected(address, verbose=args.verbose):
        # Before the clips are decoded: that may take long, and a trial that fits nowhere is known now.
        slot, at_once = plan_slots(config.resources, alive_nodes())
        if address is not None:
            to_come = trials_that_fit(slot, alive_nodes()) < at_once
            print_nodes(check_cluster(scanned, config, slot), yet_to_come=to_come)
        began = time.monotonic()
        prepared = prepare(scanned, config, progress=True)
        seconds_decoding = time.monotonic() - began
        print_build(prepared, run)
        data = prepared.trial_data()
        measured = _measured(run, config, data, slot, fresh=not args.resume)
        if not args.resume:
            new_run(run, config, prepared)
        add_process(run.made, _this_process(args.words, prepared.build.decoded, seconds_decoding))
        if measured.demands:
            keep(measured, run.demand)
        plan = make_plan(config, data, measured, alive_nodes())
        print(plan.text(), flush=True)
        go_on = f"go on with: python -m tuning sweep --resume {run.named}"
        began = time.monotonic()
        try:
            with told_when_gone(head_address(), f"Ray's head no longer answers; once one runs again, {go_on}"):
                results = run_sweep(run, config, prepared, plan.slot, plan.at_once, verbose=args.verbose)
        except Interrupted:
            print(f"\nstopped before all trials ended; {go_on}")
            return EXIT_INTERRUPTED
    end_process(run.made, time.monotonic() - began, plan.at_once)
    print_outcome(finish(run, config, results), config, prepared.build)
    return 0


def _tell_of_end(run: RunFolder) -> int:
    """There is nothing to go on with, and the test split is not used again unasked."""
    from tuning.tracking.mlflow_writer import reporting

    with reporting(run) as mlflow:
        unsent = mlflow.send(patience=0)
    print(f"{run.path.name} has ended: report in {shown(run.report)}; nothing was done")
    print(f"to test its champion again, which is counted: python -m tuning evaluate --run {run.named}")
    if unsent:
        print(f"note: {unsent}")
    return 0


def _this_process(words: Sequence[str], decoded: int, seconds_decoding: float) -> Process:
    """What worked on the run now, on the connected cluster."""
    import ray

    from tuning.report.provenance import Process, cluster_text, command_line, machine_text, versions

    return Process(
        command=command_line(words),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine_text(),
        cluster=cluster_text([node["Resources"] for node in ray.nodes() if node["Alive"]]),
        versions=versions(),
        decoded=decoded,
        seconds_decoding=round(seconds_decoding, 1),
    )


def _measured(run: RunFolder, config: SweepConfig, data: TrialData, slot: Slot, *, fresh: bool) -> Measured:
    """What trials need: as it was measured when the run began, or else measured now, while MLflow gets ready."""
    from tuning.cluster.placement import alive_nodes, trials_that_fit
    from tuning.cluster.profile_task import Measured, kept, measure_trials
    from tuning.tracking.server import open_store, resolve_uri

    def meanwhile() -> None:
        if fresh:
            open_store(resolve_uri(config.tracking, Path(config.runs_dir)), Path(config.runs_dir))

    if not config.resources.measure:
        return Measured()
    before = kept(run.demand, slot)
    if before is not None:
        return before
    if not trials_that_fit(slot, alive_nodes()):
        print("note: no node is there yet to measure trials on", flush=True)
        return Measured()
    print("measuring what trials take …", flush=True)
    measured = measure_trials(config, data, slot, meanwhile)
    for failure in measured.failures:
        print(f"note: {failure.arch} could not be measured: {failure.reason}", flush=True)
    return measured


def _new_config(args: argparse.Namespace) -> SweepConfig:
    from tuning.cluster.submitted_job import refuse_lost_paths, working_copy
    from tuning.config.load import absolute_paths, load_config, refuse_unused
    from tuning.config.schema import ConfigError

    if args.config is None:
        raise ConfigError("give --config FILE (configs/demo.yaml is a small one), or --resume NAME")
    flags = {
        "name": args.name,
        "data.dir": args.data,
        "data.split": args.split,
        "data.groups": args.groups,
        "data.few_groups": args.few_groups,
        "weights_dir": args.weights_dir,
    }
    overrides = [*args.overrides, *([f"data.folds={args.folds}"] if args.folds is not None else [])]
    config = load_config(args.config, overrides, {k: v for k, v in flags.items() if v is not None})
    refuse_unused(config)
    name = config.name or f"{args.config.stem}-{datetime.now():%Y%m%d-%H%M%S}"
    config = absolute_paths(config.model_copy(update={"name": name}))
    refuse_lost_paths(config, working_copy(Path.cwd()))
    return config


def _resumed_config(args: argparse.Namespace) -> SweepConfig:
    """The run's own settings, with its own split; another setting would mix two sweeps in one folder."""
    from tuning.config.run_dir import find_run
    from tuning.config.schema import ConfigError

    settings = ("config", "data", "split", "groups", "folds", "few_groups", "weights_dir", "name")
    given = [name for name in settings if getattr(args, name)]
    if given or args.overrides:
        extra = [*(f"--{name.replace('_', '-')}" for name in given), *args.overrides]
        raise ConfigError(f"--resume goes on with the run's own settings: leave out {' '.join(extra)}")
    run = find_run(args.resume)
    config = run.read_config()
    data = config.data.model_copy(update={"split": str(run.split), "groups": None})
    return config.model_copy(update={"data": data})


def _evaluate(args: argparse.Namespace) -> int:
    from tuning.config.run_dir import find_run
    from tuning.evaluation.evaluate import evaluate_run
    from tuning.sweep import contenders_of
    from tuning.tracking.mlflow_writer import reporting

    run = find_run(str(args.run))
    config, others = run.read_config(), contenders_of(run)
    if not run.tracking.exists():
        report, unsent, promotion = evaluate_run(run, others, progress=True), "", ""
    else:
        with reporting(run) as mlflow:
            report = evaluate_run(run, others, progress=True)
            mlflow.journal.report_test(config.tracking.promote)
            unsent = mlflow.send(config.tracking.patience)
            promotion = mlflow.writer.promotion
    print(f"test accuracy {report.scores.accuracy:.3f}, macro-F1 {report.scores.macro_f1:.3f}, ", end="")
    print(f"{report.scores.num_clips} clips; report in {shown(report.folder)}")
    if report.averaged:
        print(f"test {averaged_text(report.averaged)}")
    if promotion:
        print(f"registered model: {promotion}")
    if unsent:
        print(f"note: {unsent}; the same command sends them")
    return 0


def _report(args: argparse.Namespace) -> int:
    from tuning.config.run_dir import find_run
    from tuning.sweep import report_anew

    print(f"report in {shown(report_anew(find_run(str(args.run))))}")
    return 0


def _predict(args: argparse.Namespace) -> int:
    from tuning.inference.predict import PredictOptions, predict_files

    options = PredictOptions(
        paths=args.paths,
        top=args.top,
        format=args.format,
        out=args.out,
        abstain=not args.no_abstain,
        batch=args.batch,
        long=args.long,
        window=args.window,
        hop=args.hop,
        plot=args.plot,
    )
    return EXIT_USER_ERROR if predict_files(args.run, args.model, options) else 0


def _export(args: argparse.Namespace) -> int:
    from tuning.config.run_dir import find_run
    from tuning.export.exporter import GRAPH, ONNX, SETTINGS, TOLERANCE, export_champion

    exported = export_champion(find_run(str(args.run)).best, args.out)
    print(f"{GRAPH}, {ONNX} and {SETTINGS} in {args.out}")
    print(f"ONNX differs from PyTorch by at most {exported.difference:.2g} a logit (up to {TOLERANCE:g} is taken)")
    return 0


def _app(args: argparse.Namespace) -> int:
    from tuning.inference.app.server import serve

    serve(args.run, args.model, host=args.host, port=args.port)
    return 0


def _ui(args: argparse.Namespace) -> int:
    from tuning.config.redact import without_secrets
    from tuning.config.schema import ConfigError, TrackingConfig
    from tuning.ports import check_port
    from tuning.tracking.server import check_reachable, resolve_uri, ui_command

    runs = args.runs.resolve()
    uri = resolve_uri(TrackingConfig(), runs)
    check_reachable(uri)
    if uri.startswith("http"):
        print(f"MLFLOW_TRACKING_URI is a server already: open {without_secrets(uri)}")
        return 0
    check_port(args.host, args.port)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise ConfigError(f"no runs in {str(args.runs)!r} yet: run a sweep first, or give --runs DIR")
    print(f"MLflow at http://{args.host}:{args.port} (Ctrl-C ends it)", flush=True)
    command, environment = ui_command(uri, args.host, args.port)
    # In this process's place, so that a signal to it ends MLflow.
    os.execve(command[0], command, {**os.environ, **environment})


if __name__ == "__main__":
    code = main()
    # Else the interpreter's last collection walks through all that PyTorch has imported, which takes seconds.
    gc.freeze()
    sys.exit(code)
