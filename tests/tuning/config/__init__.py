from __future__ import annotations

from pathlib import Path

CONFIGS = Path(__file__).parents[3] / "configs"

PRETRAINED = {"models": {"resnet18": {"weights": "imagenet"}, "c3d": {"weights": "c3d.pt"}}}
"""Settings with which all architectures start from weights."""
