"""Activation checkpointing: less memory for more computation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_stages(model: nn.Module, stages: Sequence[str]) -> None:
    """Let each stage save only its input and recompute its activations in the backward pass (arXiv 1604.06174).

    Args:
        model: changed in place.
        stages: names of its modules, each with a final dot.
    """
    for name in stages:
        stage = model.get_submodule(name.removesuffix("."))
        recomputed = partial(checkpoint, stage.forward, use_reentrant=False, context_fn=partial(_contexts, stage))
        stage.forward = recomputed


def _contexts(stage: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the forward pass and of the recomputation."""
    return nullcontext(), _keep_running_statistics(stage)


@contextmanager
def _keep_running_statistics(stage: nn.Module) -> Iterator[None]:
    """Keep batch norm's running statistics, which would otherwise count each batch twice."""
    norms = [module for module in stage.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
