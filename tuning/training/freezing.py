"""Which of a model's parameters train, from which epoch on, and how fast.

A model is a row of stages from its input on, each named by the prefix of its parameters with the final dot, and its
head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tuning.config.schema.train import TrainConfig


def stage_index(parameter: str, stages: Sequence[str]) -> int:
    """Which stage, from 0 at the input, a parameter belongs to by its name; the head follows the last."""
    if parameter.startswith("head."):
        return len(stages)
    found = [number for number, stage in enumerate(stages) if parameter.startswith(stage)]
    assert len(found) == 1, f"{parameter} is in {len(found)} of the stages {stages}"
    return found[0]


def first_trained_stage(train: TrainConfig, stages: int, epoch: int) -> int:
    """The first of so many stages that trains in this epoch (from 1), with all behind it; `stages` if none does."""
    if train.trainable == "all":
        return 0
    at_first = 0 if train.trainable == "head" else train.trainable
    joined = (epoch - 1) // train.unfreeze_every if train.unfreeze_every else 0
    return max(0, stages - at_first - joined)


def freeze_for_epoch(model: nn.Module, stages: Sequence[str], train: TrainConfig, epoch: int) -> None:
    """Put the model into training mode, with what this epoch does not train frozen.

    Batch norm goes by the statistics that it has where its layer is frozen, or all with `train.frozen_statistics`.
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
    """All parameters that train in some epoch, as groups for an optimizer; the first has the head's learning rate.

    The backbone's rate is the head's times `train.backbone_lr`; norms and biases are not decayed.
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
