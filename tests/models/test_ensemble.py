from __future__ import annotations

import torch

from models.ensemble import Ensemble
from tests.helpers.small_models import SMALL, build_small


def test_ensemble_averages_probabilities() -> None:
    members = [build_small(*SMALL[0]).eval() for _ in range(2)]
    frames = torch.randn(2, 8, 3, 64, 64)
    with torch.inference_mode():
        logits = Ensemble(members)(frames)
        mean = torch.stack([member(frames).softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(logits.softmax(1), mean)
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(2))
