"""Every architecture at a size that one core trains in a second or two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from models.clip_model import ClipModel
from models.errors import ModelError
from models.registry import build_model

Case = tuple[str, dict[str, Any], int, int]
"""Name, options, frame count, size."""

SMALL: list[Case] = [
    ("resnet18", {"hidden": 8}, 3, 32),
    ("resnet18", {"hidden": 8, "temporal": "lstm", "temporal_width": 8}, 3, 32),
    ("resnet18", {"hidden": 8, "temporal": "attention", "temporal_width": 16}, 3, 32),
    ("resnet50", {"hidden": 8}, 2, 32),
    ("efficientnet_lite0", {"hidden": 8}, 2, 32),
    ("tsm_resnet18", {"hidden": 8}, 3, 32),
    ("c3d", {"width": 2, "fc": 8}, 8, 48),
    ("c3d", {"width": 2, "batch_norm": True, "head": "pool"}, 8, 48),
    ("r3d_18", {}, 2, 32),
    ("mc3_18", {}, 2, 32),
    ("r2plus1d_18", {}, 2, 32),
    ("s3d", {}, 8, 32),
    ("mvit_v2_s", {"stochastic_depth": 0.0}, 4, 64),
    ("swin3d_t", {"stochastic_depth": 0.0}, 2, 224),
]
"""Each architecture with the smallest clips that it takes, some with several options."""

IDS = ["-".join([name, *map(str, options.values())]) for name, options, _, _ in SMALL]

CASES = pytest.mark.parametrize(("name", "options", "num_frames", "size"), SMALL, ids=IDS)


def first_case(name: str) -> Case:
    """Return the first case of an architecture."""
    return next(each for each in SMALL if each[0] == name)


def build_small(name: str, options: dict[str, Any], num_frames: int, size: int, num_classes: int = 3) -> ClipModel:
    return build_model(name, options, num_classes=num_classes, num_frames=num_frames, size=size)


def error_message(function: Any, *args: Any, **kwargs: Any) -> str:
    """Return the message, one line, of the ModelError that a call raises."""
    with pytest.raises(ModelError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert "\x1b" not in message
    return message


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: threads that wait for each other on a busy machine take minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def one_seed_one_thread() -> Iterator[None]:
    """Fix the seed, and use one thread."""
    torch.manual_seed(0)
    with one_thread():
        yield
