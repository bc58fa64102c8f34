"""Settings that have no effect because of other settings.

Functions that need PyTorch import it, so that `check_given_settings` answers at once.
"""

from __future__ import annotations

from tuning.config.defaults import default_warmup
from tuning.config.messages import as_yaml
from tuning.config.schema.space import TRAIN_PREFIX
from tuning.config.schema.train import TrainConfig
from tuning.config.subspace import Subspace, select_prefix
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError


def untried_architectures(config: SweepConfig) -> list[str]:
    """Return the architectures that have options or a space, but are not in `space.arch`."""
    return [name for name in {**config.models, **config.space.by_arch} if name not in config.space.arch]


def check_given_settings(config: SweepConfig) -> None:
    """Check that no setting which the user gave, default or not, is without effect.

    Raises:
        ConfigError: such a setting; the message names it.
    """
    data, space = config.data, config.space
    given = data.model_fields_set
    if data.split_file is not None:
        unused = sorted(given & {"groups", "folds", "val", "test", "seed", "few_groups"})
        if unused:
            names = ", ".join(f"data.{name}" for name in unused)
            raise ConfigError(f"{names} has no effect on an existing data.split: leave one of them out")
    if data.folds and "val" in given:
        raise ConfigError("data.val has no effect with data.folds, which validate on every fold: leave it out")
    own = [each for arch in space.arch for each in space.by_arch.get(arch, (None,))]
    for name in ("lr", "num_frames"):
        if name in space.model_fields_set and all(getattr(each, name, None) is not None for each in own):
            raise ConfigError(
                f"space.{name} has no effect: space.by_arch sets it for every architecture; leave one of them out, or "
                f"set {' and '.join(f'space.by_arch.{arch}.{name}' for arch in space.arch)}"
            )


def check_overridden_values(sweep: SweepConfig) -> None:
    """Check that no setting has a value which an axis of the search space always replaces.

    Raises:
        ValueError: such a setting.
    """
    subspaces = sweep.subspaces()
    for axis in subspaces[0].axes_with(TRAIN_PREFIX):
        name = axis.removeprefix(TRAIN_PREFIX)
        value = getattr(sweep.train, name)
        if name == "warmup_epochs" and value == default_warmup(sweep.train.epochs):
            continue
        if value != TrainConfig.model_fields[name].default and all(value not in s.values(axis) for s in subspaces):
            raise ValueError(
                f"train.{name}={as_yaml(value)} has no effect: {subspaces[0].key}.train.{name} tries other values; add "
                "it to them, or leave it out"
            )
    for arch in sweep.space.arch:
        tried = {weights for s in subspaces if s.arch == arch for weights in s.values("weights")}
        if "weights" in sweep.models.get(arch, {}) and sweep.weights(arch) not in tried:
            raise ValueError(
                f"models.{arch}.weights={sweep.weights(arch)} has no effect: space.by_arch.{arch}.weights tries other "
                "weights; add it to them, or leave it out"
            )


def check_weights_dir_used(sweep: SweepConfig) -> None:
    """Check that some trial reads a file in `weights_dir`.

    Raises:
        ValueError: no trial does.
    """
    from models.architecture import DownloadableWeights
    from models.registry import get_architecture

    sources = [
        get_architecture(s.arch).weights.get(weights) for s in sweep.subspaces() for weights in s.values("weights")
    ]
    if sweep.weights_dir is not None and not any(isinstance(source, DownloadableWeights) for source in sources):
        raise ValueError(
            "weights_dir has no effect: no trial starts from weights that are downloaded, such as imagenet; set "
            "models.ARCH.weights, or leave it out"
        )


def check_frozen_statistics(sweep: SweepConfig) -> None:
    """Check that `train.frozen_statistics` applies to some architecture, and to each for which it is an axis.

    Raises:
        ValueError: an architecture has no batch norm.
    """
    subspaces = [s for s in sweep.subspaces() if any(train.frozen_statistics for train in sweep.train_configs(s))]
    without = [s for s in subspaces if not _has_batch_norm(sweep, s)]
    is_axis = any(len(select_prefix(s.axes, TRAIN_PREFIX).get("frozen_statistics", ())) > 1 for s in without)
    if without and (len(without) == len(subspaces) or is_axis):
        names = ", ".join(dict.fromkeys(s.arch for s in without))
        raise ValueError(
            f"train.frozen_statistics has no effect on {names}, which has no batch norm: leave it out, or set it for "
            "other architectures by space.by_arch"
        )


def _has_batch_norm(sweep: SweepConfig, subspace: Subspace) -> bool:
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    from models.registry import build_model

    sizes = {"num_frames": subspace.values("num_frames")[0], "size": sweep.train_configs(subspace)[0].size}
    with torch.device("meta"):
        model = build_model(subspace.arch, sweep.options(subspace.arch), num_classes=2, **sizes)
    return any(isinstance(module, _BatchNorm) for module in model.modules())
