"""Average, LSTM and attention over the features of frames."""

from __future__ import annotations

import torch
from torch import nn

from models.temporal_pooling import AttentionPooling, LSTMPooling
from tests.helpers.small_models import build_small, first_case


def test_average_pooling_is_the_mean_of_frame_features() -> None:
    model = build_small(*first_case("resnet18")).eval()
    clip = torch.randn(1, 3, 3, 32, 32)
    with torch.no_grad():
        features = torch.stack([model.get_submodule("backbone")(clip[:, t]) for t in range(3)]).mean(0)
        layers = [model.get_submodule(f"head.{number}") for number in range(4)]
        torch.testing.assert_close(nn.Sequential(*layers)(features), model(clip))


def test_lstm_pooling_returns_the_hidden_state_of_the_last_frame() -> None:
    pooling = LSTMPooling(5, 3)
    features = torch.randn(2, 4, 5)
    _, (hidden, _) = pooling.lstm(features)
    torch.testing.assert_close(pooling(features), hidden[0])


def test_attention_pooling_knows_the_order_only_from_its_positions() -> None:
    pooling = AttentionPooling(5, 8, num_frames=4, dropout=0.5).eval()
    features = torch.randn(2, 4, 5)
    order = torch.tensor([2, 0, 3, 1])
    assert not torch.allclose(pooling(features), pooling(features[:, order]), atol=1e-5)
    with torch.no_grad():
        pooling.positions.zero_()
        torch.testing.assert_close(pooling(features), pooling(features[:, order]))
