"""ResNet18 with temporal shifts."""

from __future__ import annotations

import torch

from models.archs.tsm_resnet18 import temporal_shift
from tests.helpers.small_models import build_small, error_message, first_case


def test_shift_moves_channels_to_the_neighbouring_frames() -> None:
    clip = torch.arange(1.0, 16.0).reshape(1, 3, 5, 1)  # frames of five channels: 1-5, 6-10, 11-15
    shifted = [[6, 11, 0], [0, 2, 7], [3, 8, 13], [4, 9, 14], [5, 10, 15]]
    torch.testing.assert_close(temporal_shift(clip, 1)[0, :, :, 0], torch.tensor(shifted, dtype=torch.float32).T)


def test_blocks_shift_the_convolution_but_not_the_residual_connection() -> None:
    model, plain = build_small(*first_case("tsm_resnet18")).eval(), build_small(*first_case("resnet18")).eval()
    plain.load_state_dict(model.state_dict())
    assert set(model.state_dict()) == set(plain.state_dict())
    with torch.no_grad():
        still = torch.randn(1, 1, 64, 8, 8).expand(1, 3, 64, 8, 8)
        shifted, unshifted = (net.get_submodule("backbone.layer1.0")(still[0]) for net in (model, plain))
    # In a still clip the middle frame gets the same values from its neighbours; the first and last frame get zeros.
    assert [(shifted - unshifted)[t].abs().max() > 1e-4 for t in range(3)] == [True, False, True]


def test_another_frame_count_raises() -> None:
    model = build_small(*first_case("tsm_resnet18")).eval()
    message = "tsm_resnet18 was built for clips of 3 frames and can't take 6"
    assert error_message(model, torch.randn(1, 6, 3, 32, 32)) == message
