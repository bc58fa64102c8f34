"""A champion without this project's code: its network as an exported graph, its settings as JSON."""

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
    """A network that includes its normalisation, so that callers need not know it."""

    def __init__(self, model: nn.Module, normalise: Normalise) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Map frames uint8 `(B, T, 3, S, S)` to logits float32 `(B, K)`."""
        return self.model(self.normalise(frames)).float()


def load_frames_to_logits(best: Path) -> tuple[FramesToLogits, Manifest]:
    """Load a champion's network with its normalisation, on the CPU, in eval mode.

    Raises:
        CheckpointError: there is no checkpoint, or its files are damaged.
    """
    model, manifest = load_model(best)
    arch = ARCHITECTURES[manifest.trial.arch]
    network = FramesToLogits(model, Normalise(arch.mean, arch.std)).eval()
    # torch.export warns of weights in another memory format.
    return network.to(memory_format=torch.contiguous_format), manifest


def example_frames(manifest: Manifest, clips: int = 2, seed: int = 0) -> torch.Tensor:
    """Return noise that the network accepts, uint8 `(clips, T, 3, S, S)`."""
    size = manifest.trial.train.size
    generator = torch.Generator().manual_seed(seed)
    shape = (clips, manifest.trial.num_frames, 3, size, size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def export_graph(network: FramesToLogits, manifest: Manifest) -> torch.export.ExportedProgram:
    """Export the network for any number of clips, with or without autocast.

    The graph loads without this project's code and without pickle.
    """
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad(), _ignore_lstm_warning():
        # Two example clips: torch.export would treat a batch size of one as a constant.
        program = torch.export.export(network, (example_frames(manifest),), dynamic_shapes=({0: batch},))
    _remove_dtype_assertions(program.graph_module)
    return program


def inference_settings(manifest: Manifest, calibration: Calibration) -> dict[str, Any]:
    """Return what is needed besides the graph to classify clips, as plain JSON values."""
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


def pinned_requirements(*names: str) -> list[str]:
    """Return requirements of the installed versions, without local labels (`+cpu`), which package indexes lack."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


def _remove_dtype_assertions(module: torch.fx.GraphModule) -> None:
    """Remove assertions that tensors have the dtypes of the export, which fail under autocast."""
    for node in module.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default):
        module.graph.erase_node(node)
    module.recompile()


@contextmanager
def _ignore_lstm_warning() -> Iterator[None]:
    """Ignore that an exported LSTM reassigns its list of weights, which torch reports as lost state."""
    message = r"The tensor attributes? (\S+\._flat_weights\[\d+\],? )+(was|were) assigned during export"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, UserWarning, "contextlib")
        yield
