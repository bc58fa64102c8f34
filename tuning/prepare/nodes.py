"""Check every node of a cluster before anything is decoded."""

from __future__ import annotations

from pathlib import Path

from tuning.cluster.node_checks import SharedFolder, check_nodes, marked_folders, node_requirements
from tuning.cluster.submitted_job import weight_paths
from tuning.config.sweep_config import SweepConfig
from tuning.prepare.clips import ScannedData
from tuning.trial.spec import Slot


def check_cluster(scanned: ScannedData, config: SweepConfig, slot: Slot) -> int:
    """Check that every node of the connected cluster has what a sweep needs.

    Returns:
        Number of nodes checked.

    Raises:
        ClusterError: a node does not reach a folder, or lacks a package or a GPU that torch can use.
    """
    shared = [("runs_dir", Path(config.runs_dir))]
    if not config.store.in_bucket:
        shared.append(("store.dir", Path(config.store.dir)))
    files = [(f"weights of {arch}", path) for arch, path in weight_paths(config)]
    if config.weights_dir is not None:
        files.append(("weights_dir", config.weights_dir))
    local_folders = [("store.local", config.store.local)] if config.store.local else []
    with marked_folders(shared) as marked:
        clips = SharedFolder("data.dir (--data)", str(scanned.root), scanned.clips[0].path, writable=False)
        return check_nodes(node_requirements([clips, *marked], files, local_folders), gpus=slot.gpus > 0)
