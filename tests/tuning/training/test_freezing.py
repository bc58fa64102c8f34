from __future__ import annotations

import pytest
import torch
from torch import nn

from models.registry import ARCHITECTURES, build_model
from tuning.config.schema.train import TrainConfig
from tuning.training.freezing import first_trained_stage, freeze_for_epoch, parameter_groups, stage_index

STAGES = ("stem.", "body.1.", "body.10.")


class ThreeStages(nn.Module):
    """A stem, two stages and a head, each a layer and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self.layer()
        self.body = nn.ModuleDict({"1": self.layer(), "10": self.layer()})
        self.head = nn.Linear(4, 2)

    @staticmethod
    def layer() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.head(self.body["10"](self.body["1"](self.stem(values))))


def train_config(**settings: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 9, **settings}, strict=True)


def trained_stages(model: nn.Module) -> list[int]:
    """Return the stages that train; all parameters of a stage must agree."""
    by_stage: dict[int, set[bool]] = {}
    for name, parameter in model.named_parameters():
        by_stage.setdefault(stage_index(name, STAGES), set()).add(parameter.requires_grad)
    assert all(len(flags) == 1 for flags in by_stage.values())
    return sorted(stage for stage, flags in by_stage.items() if flags == {True})


def test_stage_index_follows_from_the_parameters_name() -> None:
    assert stage_index("body.1.0.weight", STAGES) == 1
    assert stage_index("body.10.0.weight", STAGES) == 2
    assert stage_index("head.weight", STAGES) == 3
    with pytest.raises(AssertionError, match="tail.weight is in 0 of the stages"):
        stage_index("tail.weight", STAGES)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {1: [0, 1, 2, 3]}),
        ({"trainable": "head"}, {1: [3], 9: [3]}),
        ({"trainable": 2}, {1: [1, 2, 3], 9: [1, 2, 3]}),
        ({"trainable": "head", "unfreeze_every": 2}, {1: [3], 2: [3], 3: [2, 3], 5: [1, 2, 3], 7: [0, 1, 2, 3]}),
        ({"trainable": 1, "unfreeze_every": 4}, {4: [2, 3], 5: [1, 2, 3], 9: [0, 1, 2, 3]}),
    ],
)
def test_freeze_for_epoch_trains_the_expected_stages(
    settings: dict[str, object], expected: dict[int, list[int]]
) -> None:
    model = ThreeStages()
    found = {}
    for epoch in expected:
        freeze_for_epoch(model, STAGES, train_config(**settings), epoch)
        found[epoch] = trained_stages(model)
    assert found == expected


def test_frozen_stages_keep_weights_and_statistics_in_training() -> None:
    torch.manual_seed(0)
    model, train = ThreeStages(), train_config(trainable=1, weight_decay=0.5)
    optimizer = torch.optim.AdamW(parameter_groups(model, STAGES, train, 0.1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    freeze_for_epoch(model, STAGES, train, 1)
    model(3 + torch.randn(16, 4)).sum().backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"body", "head"}
    assert not any(name.startswith("body.1.") for name in moved)
    assert {"body.10.0.weight", "body.10.1.running_mean", "head.bias"} <= moved


def test_frozen_statistics_stay_while_weights_train() -> None:
    model = ThreeStages()
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    freeze_for_epoch(model, STAGES, train_config(frozen_statistics=True), 1)
    model(3 + torch.randn(16, 4)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items() if name in before)
    assert all(parameter.grad is not None for parameter in model.parameters())
    freeze_for_epoch(model, STAGES, train_config(), 1)
    model(3 + torch.randn(16, 4))
    assert not any(torch.equal(value, before[name]) for name, value in model.state_dict().items() if name in before)


def test_parameter_groups_set_backbone_rate_and_no_decay_of_norms_and_biases() -> None:
    model = ThreeStages()
    groups = parameter_groups(model, STAGES, train_config(backbone_lr=0.1, weight_decay=0.05), 0.01)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert groups[0]["lr"] == 0.01
    assert len(rates) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        lr, decay = rates[id(parameter)]
        assert lr == pytest.approx(0.01 if name.startswith("head") else 0.001)
        assert decay == (0.05 if parameter.dim() > 1 else 0.0)


@pytest.mark.parametrize(
    ("settings", "first"),
    [({"trainable": "head"}, 3), ({"trainable": 1}, 2), ({"trainable": 1, "unfreeze_every": 8}, 1), ({}, 0)],
)
def test_parameter_groups_leave_out_what_never_trains(settings: dict[str, object], first: int) -> None:
    model = ThreeStages()
    given = {id(p) for group in parameter_groups(model, STAGES, train_config(**settings), 0.1) for p in group["params"]}
    assert given == {id(p) for name, p in model.named_parameters() if stage_index(name, STAGES) >= first}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_parameter_of_an_architecture_is_in_one_stage_or_the_head(name: str) -> None:
    arch = ARCHITECTURES[name]
    num_frames, size = arch.default_input
    with torch.device("meta"):
        model = build_model(name, {}, num_classes=3, num_frames=num_frames, size=size)
    stages = {stage_index(parameter, arch.stages) for parameter, _ in model.named_parameters()}
    assert stages == set(range(len(arch.stages) + 1))
    assert first_trained_stage(train_config(trainable=1), len(arch.stages), 1) == len(arch.stages) - 1
