from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.registry import ARCHITECTURES
from tests.helpers.small_models import build_small, first_case
from tuning.training.activation_checkpointing import checkpoint_stages


class Network(nn.Module):
    """Two stages with batch norm and dropout, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.second = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8, momentum=None), nn.ReLU(inplace=True))
        self.head = nn.Linear(8, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(images)).mean((2, 3)))


def plain_and_checkpointed() -> tuple[Network, Network]:
    torch.manual_seed(0)
    plain = Network()
    checkpointed = copy.deepcopy(plain)
    checkpoint_stages(checkpointed, ("first.", "second."))
    return plain, checkpointed


def test_gradients_and_running_statistics_are_unchanged() -> None:
    plain, checkpointed = plain_and_checkpointed()
    images = torch.randn(4, 3, 12, 12)
    for model in (plain, checkpointed):
        for step in range(2):
            torch.manual_seed(step)
            model(images).square().sum().backward()
    for (name, left), right in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        assert left.grad is not None
        torch.testing.assert_close(left.grad, right.grad, msg=name)
    for (name, left), right in zip(plain.state_dict().items(), checkpointed.state_dict().values(), strict=True):
        assert torch.equal(left, right), name


@pytest.mark.parametrize("name", ["resnet18", "c3d", "r3d_18"])
def test_stages_of_an_architecture_give_the_same_gradients(name: str) -> None:
    arch = ARCHITECTURES[name]
    torch.manual_seed(0)
    _, options, num_frames, size = first_case(name)
    plain = build_small(name, options, num_frames, size)
    checkpointed = copy.deepcopy(plain)
    checkpoint_stages(checkpointed, arch.stages)
    frames = torch.randn(1, num_frames, 3, size, size)
    for model in (plain, checkpointed):
        torch.manual_seed(1)
        model(frames).square().sum().backward()
    for (key, left), right in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad, msg=key)


def test_fewer_activations_are_saved_for_the_backward_pass() -> None:
    images = torch.randn(4, 3, 12, 12)
    saved = []
    for model in plain_and_checkpointed():
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: (sizes.append(tensor.numel()), tensor)[1], lambda tensor: tensor
        ):
            model(images)
        saved.append(sum(sizes))
    assert saved[1] < saved[0] / 2


def test_logits_in_eval_mode_are_unchanged() -> None:
    plain, checkpointed = (model.eval() for model in plain_and_checkpointed())
    images = torch.randn(4, 3, 12, 12)
    with torch.inference_mode():
        assert torch.equal(plain(images), checkpointed(images))
