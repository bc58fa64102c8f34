"""Gradient checkpointing: less memory for more computing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_stages(model: nn.Module, stages: Sequence[str]) -> None:
    """Let each stage keep only its input when it trains, and compute the rest anew on the way back (arXiv 1604.06174).

    Args:
        model: changed in place.
        stages: names of its modules, with a final dot each.
    """
    for name in stages:
        stage = model.get_submodule(name.removesuffix("."))
        recomputed = partial(checkpoint, stage.forward, use_reentrant=False, context_fn=partial(_contexts, stage))
        stage.forward = recomputed


def _contexts(stage: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(stage)


@contextmanager
def _statistics_kept(stage: nn.Module) -> Iterator[None]:
    """Batch norm's running statistics would else count each batch twice."""
    norms = [module for module in stage.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
