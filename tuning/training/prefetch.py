"""Batches made ready on the device ahead of the step that needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

_T = TypeVar("_T")


def prefetch_to_device(
    batches: Iterable[_T], prepare: Callable[[_T], tuple[torch.Tensor, ...]], device: torch.device
) -> Iterator[tuple[_T, tuple[torch.Tensor, ...]]]:
    """Each batch with what `prepare` makes of it, in order.

    On CUDA it is made on a stream of its own while the step before still computes, so that neither a copy nor an
    augmentation that waits for its own result (torchvision's tables of affine grids do) holds up the training. This
    goes well only where the steps themselves don't wait for the device. At most one batch lies ready beside the one
    that is computed, so memory does not grow with how far the host could run ahead.

    Args:
        batches: are drawn as they are needed, none before the one in front of it was asked for.
        prepare: moves a batch to the device, from pinned memory without waiting, and computes what a step takes.
        device: the one that computes; on a CPU each batch is prepared when it is asked for.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch, prepare(batch)
        return
    # Of high priority: little work, which a step's many blocks would else keep waiting.
    aside, computing = torch.cuda.Stream(device, priority=-1), torch.cuda.current_stream(device)
    before, launched = None, None
    for batch in batches:
        with torch.cuda.stream(aside):
            ready = prepare(batch)
        computing.wait_stream(aside)
        for tensor in ready:
            # Else its memory could be given to the next batch while the step still reads it.
            tensor.record_stream(computing)
        yield batch, ready
        before, launched = launched, computing.record_event()
        if before is not None:
            before.synchronize()  # The step just launched keeps the device busy meanwhile.
