"""A champion apart from this project's code: its network as an exported graph, all else as plain JSON."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.loading.transforms import Normalise
from models.registry import ARCHITECTURES
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest, load_model


class FramesToLogits(nn.Module):
    """A network with its normalisation, so that nobody else has to know it."""

    def __init__(self, model: nn.Module, normalise: Normalise) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, S, S)` uint8 to logits `(B, K)` float32."""
        return self.model(self.normalise(frames)).float()


def load_whole(best: Path) -> tuple[FramesToLogits, Manifest]:
    """A champion's network from frames to logits, on the CPU, in eval mode.

    Raises:
        CheckpointError: no checkpoint, or its files are damaged.
    """
    model, manifest = load_model(best)
    arch = ARCHITECTURES[manifest.trial.arch]
    whole = FramesToLogits(model, Normalise(arch.mean, arch.std)).eval()
    # Weights in another layout are written as parts of tensors that no longer exist, of which torch warns.
    return whole.to(memory_format=torch.contiguous_format), manifest


def example_frames(manifest: Manifest, clips: int = 2, seed: int = 0) -> torch.Tensor:
    """Noise of the shape that the network takes, uint8 `(clips, T, 3, S, S)`."""
    size = manifest.trial.train.size
    generator = torch.Generator().manual_seed(seed)
    shape = (clips, manifest.trial.num_frames, 3, size, size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def export_graph(whole: FramesToLogits, manifest: Manifest) -> torch.export.ExportedProgram:
    """The network as a graph that loads without this project's code and without unpickling any; any number of clips."""
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad(), _no_warning_of_lstm_weights():
        # Two clips, not one: torch.export would take a batch of one for a constant.
        return torch.export.export(whole, (example_frames(manifest),), dynamic_shapes=({0: batch},))


def describe(manifest: Manifest, calibration: Calibration) -> dict[str, Any]:
    """What must be known beside the graph to label clips with it; plain JSON."""
    return {
        "classes": list(manifest.classes),
        "decode": asdict(manifest.decode),
        "selection": asdict(manifest.trial.frame_selection()),
        "size": manifest.trial.train.size,
        "precision": manifest.trial.train.precision,
        "at_once": manifest.trial.train.max_micro_batch,
        "temperature": calibration.temperature,
        "threshold": calibration.threshold,
        "checkpoint_sha256": manifest.model_sha256,
        "split_sha256": manifest.split_sha256,
    }


def pinned(*names: str) -> list[str]:
    """Requirements of the versions that run here; a build's local mark (`+cpu`) is known to no package index."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


@contextmanager
def _no_warning_of_lstm_weights() -> Iterator[None]:
    """An LSTM lists its own parameters anew when it is exported, which torch takes for state that is lost."""
    listed = r"The tensor attributes? (\S+\._flat_weights\[\d+\],? )+(was|were) assigned during export"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", listed, UserWarning, "contextlib")
        yield
