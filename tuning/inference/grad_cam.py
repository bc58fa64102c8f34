"""Grad-CAM: which pixels of a clip a model's prediction depends on (Selvaraju et al. 2017, arXiv:1610.02391)."""

from __future__ import annotations

import torch
from torch import nn

from models.ensemble import Ensemble
from models.registry import get_architecture


def grad_cam(model: nn.Module, arch_name: str, inputs: torch.Tensor, target: int) -> torch.Tensor:
    """Return how much each pixel of a clip contributes to a class.

    The map is that of captum's `LayerGradCam` at the model's last feature map, interpolated linearly over time and
    space to the size of the clip. A network for pictures has channel weights per frame, one for clips has them per
    clip.

    Args:
        model: a network of the architecture, or an `Ensemble` of such: then the result is the mean of the members'
            maps. It is set to eval mode.
        arch_name: the architecture.
        inputs: float32 `(1, T, 3, H, W)`, normalised, on the model's device.
        target: index of the class.

    Returns:
        float32 `(T, H, W)` on the CPU, from 0 (no contribution, or a negative one) to 1 (the largest contribution of
        the clip); 0 everywhere if no pixel contributes.

    Raises:
        ModelError: there is no such architecture.
    """
    assert inputs.shape[0] == 1, f"one clip at a time, not {inputs.shape[0]}"
    model.eval()
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    maps = torch.stack([_map(member, get_architecture(arch_name).pool(member), inputs, target) for member in members])
    return _scale_to_one(maps.mean(0)).cpu()


def _map(model: nn.Module, pool: nn.Module, inputs: torch.Tensor, target: int) -> torch.Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    # cuDNN can't compute gradients of an LSTM in eval mode.
    with torch.backends.cudnn.flags(enabled=False):
        attribution = (
            LayerGradCam(model, pool)
            .attribute(
                inputs.detach().float().requires_grad_(), target, attribute_to_layer_input=True, relu_attributions=True
            )
            .detach()
        )
    # A network for pictures gives (T, 1, H', W'), one for clips (1, 1, T', H', W').
    per_clip = attribution.transpose(0, 1)[None] if attribution.dim() == 4 else attribution
    _, frames, _, height, width = inputs.shape
    return _scale_to_one(LayerAttribution.interpolate(per_clip, (frames, height, width), "trilinear")[0, 0])


def _scale_to_one(values: torch.Tensor) -> torch.Tensor:
    largest = values.max()
    return values / largest if largest > 0 else values
