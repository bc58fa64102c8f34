"""Agreement and averages over the ranks of a worker group; without a process group, this process is the only rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist


def all_ranks(condition: bool) -> bool:
    """Return whether the condition holds on every rank.

    All ranks must stop or retry at the same step: one that continued alone would wait for the others forever. The
    result is exchanged between hosts (gloo), so that no GPU has to synchronise.
    """
    if not dist.is_initialized():
        return condition
    minimum = torch.tensor(float(condition))
    dist.all_reduce(minimum, op=dist.ReduceOp.MIN)
    return bool(minimum)


@torch.no_grad()
def average_over_ranks(tensors: Sequence[torch.Tensor]) -> None:
    """Replace each tensor by its mean over all ranks, in place."""
    if not tensors or not dist.is_initialized():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))
