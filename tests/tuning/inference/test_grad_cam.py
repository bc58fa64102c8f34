"""Grad-CAM maps of every architecture, and what they show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.ensemble import Ensemble
from models.registry import ARCHITECTURES
from tests.helpers.small_models import CASES, SMALL, build_small, one_seed_one_thread
from tuning.inference.grad_cam import grad_cam

__all__ = ["one_seed_one_thread"]

SIDE, SQUARE = 96, 24
C3D: tuple[str, dict[str, Any]] = ("c3d", {"width": 4, "batch_norm": True, "head": "pool", "dropout": 0.0})


def with_batch_statistics(model: nn.Module, num_frames: int, size: int) -> nn.Module:
    """Set the statistics of batch norms: with those of a new model, all units may be dead."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(2, num_frames, 3, size, size))
    return model


@CASES
def test_map_of_each_architecture_has_the_shape_of_the_clip(
    name: str, options: dict[str, Any], num_frames: int, size: int
) -> None:
    model = with_batch_statistics(build_small(name, options, num_frames, size, num_classes=12), num_frames, size)
    clip = torch.randn(1, num_frames, 3, size, size)
    for target in range(12):
        found = grad_cam(model, name, clip, target)
        assert found.shape == (num_frames, size, size)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        assert torch.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= 1
        if found.max() > 0:
            assert found.max() == 1
            break
    else:
        pytest.fail("no pixel contributes to any class")
    assert all(parameter.grad is None for parameter in model.parameters())


def test_every_architecture_is_a_case() -> None:
    assert {name for name, *_ in SMALL} == set(ARCHITECTURES)


def test_mvit_has_the_keys_and_outputs_of_torchvision() -> None:
    from torchvision.models.video import mvit_v2_s

    ours = build_small("mvit_v2_s", {"stochastic_depth": 0.0}, 4, 64).eval()
    plain = mvit_v2_s(weights=None)
    plain.pos_encoding.temporal_size, plain.pos_encoding.spatial_size = 2, (16, 16)
    plain.head = nn.Identity()
    plain.load_state_dict(ours.backbone.state_dict())
    clip = torch.randn(2, 3, 4, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours.backbone(clip), plain.eval()(clip), rtol=0, atol=0)


def squares(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, list[Any]]:
    """Noise with a red square (class 0) or a blue one (class 1), and the squares' corners."""
    clips = 0.1 * torch.randn(count, 8, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(count) % 2
    corners = torch.randint(0, SIDE - SQUARE, (count, 2), generator=generator).tolist()
    for clip, label, (top, left) in zip(clips, labels, corners, strict=True):
        clip[:, 2 * int(label), top : top + SQUARE, left : left + SQUARE] += 2
    return clips, labels, corners


def test_map_of_a_trained_model_covers_the_decisive_square() -> None:
    model = build_small(*C3D, 8, SIDE, num_classes=2)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(15):
        clips, labels, _ = squares(8, generator)
        loss = nn.functional.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clips, labels, corners = squares(8, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert (model.eval()(clips).argmax(1) == labels).all()
    for clip, label, (top, left) in zip(clips, labels, corners, strict=True):
        found = grad_cam(model, "c3d", clip[None], int(label))
        inside = torch.zeros(found.shape, dtype=torch.bool)
        inside[:, top : top + SQUARE, left : left + SQUARE] = True
        assert found[inside].mean() > 1.5 * found[~inside].mean()


def test_map_follows_the_equations_of_the_paper_per_frame() -> None:
    """Equations 1 and 2: channels are weighted by their mean gradients, negative values are set to zero."""
    model = with_batch_statistics(build_small("resnet18", {"hidden": 8}, 3, 96), 3, 96)
    clip = torch.randn(1, 3, 3, 96, 96)
    features: list[torch.Tensor] = []
    model.backbone.layer4.register_forward_hook(lambda *given: features.append(given[2]))
    (gradients,) = torch.autograd.grad(model.eval()(clip)[0, 1], features)
    channels = gradients.mean((2, 3), keepdim=True)
    by_hand = (channels * features[0]).sum(1, keepdim=True).relu().detach()
    by_hand = nn.functional.interpolate(by_hand, (96, 96), mode="bilinear")[:, 0]
    torch.testing.assert_close(grad_cam(model, "resnet18", clip, 1), by_hand / by_hand.max(), rtol=0, atol=1e-4)


def test_map_of_an_ensemble_is_the_mean_of_its_members() -> None:
    members = [with_batch_statistics(build_small(*C3D, 8, 48), 8, 48) for _ in range(3)]
    clip = torch.randn(1, 8, 3, 48, 48)
    mean = torch.stack([grad_cam(member, "c3d", clip, 1) for member in members]).mean(0)
    torch.testing.assert_close(grad_cam(Ensemble(members), "c3d", clip, 1), mean / mean.max())
