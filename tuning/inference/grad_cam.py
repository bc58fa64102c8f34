"""Where in a clip a model looks: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391)."""

from __future__ import annotations

import torch
from torch import nn

from models.ensemble import Ensemble
from models.registry import get_architecture


def grad_cam(model: nn.Module, arch_name: str, inputs: torch.Tensor, target: int) -> torch.Tensor:
    """How much each place of a clip speaks for a class.

    By captum's `LayerGradCam` at the model's last feature map, stretched linearly over time and space to the frames. A
    network that looks at frames one by one has channel weights of each frame's own, one that sees time of the clip's.

    Args:
        model: of one architecture, or an `Ensemble` of such: then the mean of the members' maps. Is put into eval mode.
        arch_name: the architecture.
        inputs: float32 `(1, T, 3, H, W)`, normalised, on the model's device.
        target: index of the class.

    Returns:
        float32 `(T, H, W)` on the CPU: 1 where the clip speaks most for the class, 0 where it does not or speaks
        against it; 0 everywhere if no place speaks for it.

    Raises:
        ModelError: there is no such architecture.
    """
    assert inputs.shape[0] == 1, f"one clip at a time, not {inputs.shape[0]}"
    model.eval()
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    maps = torch.stack([_map(member, get_architecture(arch_name).pool(member), inputs, target) for member in members])
    return _up_to_one(maps.mean(0)).cpu()


def _map(model: nn.Module, pool: nn.Module, inputs: torch.Tensor, target: int) -> torch.Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    # cuDNN has no gradients of an LSTM in eval mode.
    with torch.backends.cudnn.flags(enabled=False):
        places = LayerGradCam(model, pool).attribute(
            inputs.detach().float().requires_grad_(), target, attribute_to_layer_input=True, relu_attributions=True
        )
    # Of frames (T, 1, H', W'), of a clip (1, 1, T', H', W').
    whole = places.detach().transpose(0, 1)[None] if places.dim() == 4 else places.detach()
    _, frames, _, height, width = inputs.shape
    return _up_to_one(LayerAttribution.interpolate(whole, (frames, height, width), "trilinear")[0, 0])


def _up_to_one(values: torch.Tensor) -> torch.Tensor:
    most = values.max()
    return values / most if most > 0 else values
