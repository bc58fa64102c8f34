"""Choose which parameters train in which epoch, and their learning rates.

A model is a sequence of stages from input to output, each named by the prefix of its parameters with the final dot,
and a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tuning.config.schema.train import TrainConfig


def stage_index(parameter: str, stages: Sequence[str]) -> int:
    """Return the stage, from 0 at the input, of a parameter by its name; the head's is `len(stages)`."""
    if parameter.startswith("head."):
        return len(stages)
    found = [number for number, stage in enumerate(stages) if parameter.startswith(stage)]
    assert len(found) == 1, f"{parameter} is in {len(found)} of the stages {stages}"
    return found[0]


def first_trained_stage(train: TrainConfig, stages: int, epoch: int) -> int:
    """Return the first stage that trains in an epoch (from 1); all later ones train too.

    Args:
        train: the settings `trainable` and `unfreeze_every`.
        stages: number of stages without the head; also the result if only the head trains.
        epoch: the epoch.
    """
    if train.trainable == "all":
        return 0
    initially = 0 if train.trainable == "head" else train.trainable
    unfrozen = (epoch - 1) // train.unfreeze_every if train.unfreeze_every else 0
    return max(0, stages - initially - unfrozen)


def freeze_for_epoch(model: nn.Module, stages: Sequence[str], train: TrainConfig, epoch: int) -> None:
    """Set training mode and freeze what does not train in this epoch.

    Batch norm uses its running statistics without updating them if its layer is frozen, and everywhere with
    `train.frozen_statistics`.
    """
    first = first_trained_stage(train, len(stages), epoch)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(stage_index(name, stages) >= first)
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and (train.frozen_statistics or not _trains(module)):
            module.eval()


def _trains(module: nn.Module) -> bool:
    return all(parameter.requires_grad for parameter in module.parameters(recurse=False))


def parameter_groups(model: nn.Module, stages: Sequence[str], train: TrainConfig, lr: float) -> list[dict[str, Any]]:
    """Return optimizer groups of all parameters that train in some epoch, the head's first.

    The backbone's learning rate is the head's times `train.backbone_lr`. Norms and biases have no weight decay.
    """
    first = first_trained_stage(train, len(stages), train.epochs)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        stage = stage_index(name, stages)
        if stage >= first:
            groups.setdefault((stage < len(stages), parameter.dim() > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr * (train.backbone_lr if in_backbone else 1.0),
            "weight_decay": train.weight_decay if decayed else 0.0,
        }
        for (in_backbone, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
