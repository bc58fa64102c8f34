"""Find the pretrained weights that trials start from, before any worker needs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.errors import ModelError
from models.registry import build_model
from models.weights import WeightsReport, find_weights, load_weights, weights_available
from tuning.config.subspace import Subspace
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError


def check_weights_dir(weights_dir: str | None) -> None:
    """Refuse a folder of weights files that does not exist: downloads would fill a mistyped one.

    Raises:
        ConfigError: it is not a folder.
    """
    if weights_dir is not None and not Path(weights_dir).is_dir():
        what = "is a file" if Path(weights_dir).exists() else "does not exist"
        raise ConfigError(
            f"weights_dir {weights_dir!r} {what}: give a folder, which 'python -m models fetch NAME --weights-dir DIR' "
            "fills on a machine with a network"
        )


def prepare_weights(config: SweepConfig, num_classes: int) -> dict[tuple[str, str], WeightsReport]:
    """Find or download all weights that trials start from, and check that they fit.

    Returns:
        For each architecture and weights, which values of the file are used.

    Raises:
        ModelError: weights can't be found or downloaded, or a file leaves layers below the head random.
    """
    reports = {}
    folder = Path(config.weights_dir) if config.weights_dir else None
    tried: dict[tuple[str, str], Subspace] = {}
    for subspace in config.subspaces():
        for weights in subspace.values("weights"):
            if weights != "none":
                tried.setdefault((subspace.arch, weights), subspace)
    _find_all(list(tried), folder)
    for (arch, weights), subspace in tried.items():
        sizes = {"num_frames": subspace.values("num_frames")[0], "size": config.train_configs(subspace)[0].size}
        model = build_model(arch, config.options(arch), num_classes=num_classes, **sizes)
        reports[arch, weights] = load_weights(model, arch, weights, folder)
        _check_backbone(arch, weights, reports[arch, weights])
    return reports


def _find_all(chosen: Sequence[tuple[str, str]], weights_dir: Path | None) -> None:
    """Raise ModelError for the first missing weights, and name all others that are missing too."""
    for number, (arch, weights) in enumerate(chosen, 1):
        try:
            find_weights(arch, weights, weights_dir)
        except ModelError as error:
            absent = [":".join(one) for one in chosen[number:] if not weights_available(*one, weights_dir)]
            more = f"; also missing: {', '.join(absent)}" if absent else ""
            raise ModelError(f"{error}{more}") from None


def _check_backbone(arch: str, weights: str, report: WeightsReport) -> None:
    random = [key for key in (*report.missing, *report.mismatched) if not key.startswith("head.")]
    if random:
        raise ModelError(
            f"{weights} does not fit {arch}: {len(random)} of its layers' values would stay random, the first is "
            f"{random[0]!r}; give weights of this very network, or set models.{arch}.weights=none"
        )
