"""The checks of a sweep before anything that takes long, in the order of the time that each takes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tuning.cli.console import print_nodes

if TYPE_CHECKING:
    from tuning.config.run_folder import RunFolder
    from tuning.config.sweep_config import SweepConfig
    from tuning.prepare.clips import ScannedData
    from tuning.trial.spec import Slot


def check_run_outputs(run: RunFolder, config: SweepConfig, *, new: bool) -> None:
    """Check what the sweep writes to, before anything that takes long."""
    from tuning.config.run_folder import refuse_existing
    from tuning.prepare.outputs import check_sweep_outputs
    from tuning.tracking.server import check_reachable, resolve_uri

    if new:
        refuse_existing(run)
        # A resumed run has a file that keeps what MLflow misses.
        check_reachable(resolve_uri(config.tracking, Path(config.runs_dir)))
    check_sweep_outputs(config, new=new)


def checked_ray_address(args: argparse.Namespace) -> str | None:
    """Return the address of the Ray cluster, None for this machine, after checking that a server answers."""
    from tuning.cluster.address import check_address, use_token_if_required

    address = args.address or os.environ.get("RAY_ADDRESS") or None
    check_address(address)
    use_token_if_required(address)
    return address


def check_settings(config: SweepConfig) -> None:
    """Check that the settings work together, which needs the architectures and thus PyTorch."""
    from tuning.config.load import check_config
    from tuning.prepare.weights import check_weights_dir

    check_config(config)
    check_weights_dir(config.weights_dir)


def check_mlflow(config: SweepConfig) -> None:
    """Check that MLflow takes the sweep: here rather than with the other outputs, since MLflow takes long to import."""
    from tuning.prepare.outputs import check_folder_writable
    from tuning.tracking.mlflow_setup import check_accepts_sweep

    artifacts = check_accepts_sweep(config.tracking, Path(config.runs_dir))
    if artifacts is None:
        return
    check_folder_writable("the artifact folder of the MLflow experiment", artifacts)
    if unquote(str(artifacts)) != str(artifacts):
        print(
            f"note: MLflow decodes the % in {str(artifacts)!r}: to load a model from there give its load_model the "
            "argument dst_path=DIR, or choose another runs_dir",
            flush=True,
        )


def check_machines(scanned: ScannedData, config: SweepConfig, *, new: bool, on_cluster: bool) -> Slot:
    """Check that trials fit on the machines and disks, before decoding, which may take long; return what one takes."""
    from tuning.cluster.placement import alive_nodes, count_fitting_trials, plan_slots
    from tuning.prepare.disk_space import check_disk_space, disk_needs
    from tuning.prepare.nodes import check_cluster
    from tuning.prepare.preflight import machine_warnings

    slot, at_once = plan_slots(config.resources, alive_nodes())
    if on_cluster:
        more_expected = count_fitting_trials(slot, alive_nodes()) < at_once
        print_nodes(check_cluster(scanned, config, slot), more_expected=more_expected)
    else:
        for warning in machine_warnings(config, slot, at_once):
            print(f"warning: {warning}", flush=True)
    if new:
        print("\n".join(check_disk_space(disk_needs(scanned, config, 0 if on_cluster else at_once))), flush=True)
    return slot
