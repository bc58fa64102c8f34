"""Prepare batches on the device before the step that needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

_T = TypeVar("_T")


def prefetch_to_device(
    batches: Iterable[_T], prepare: Callable[[_T], tuple[torch.Tensor, ...]], device: torch.device
) -> Iterator[tuple[_T, tuple[torch.Tensor, ...]]]:
    """Yield each batch with its prepared tensors, in order.

    On CUDA, batches are prepared on a stream of their own while the previous step computes. So neither a copy nor an
    augmentation that synchronises (as torchvision's affine grids do) delays training, as long as the steps themselves
    do not synchronise. At most one batch is prepared ahead, so memory does not grow with how far the host runs ahead.

    Args:
        batches: drawn one at a time, each when the consumer asks for it.
        prepare: copies a batch to the device, asynchronously from pinned memory, and computes the input of a step.
        device: the device; on a CPU, a batch is prepared when the consumer asks for it.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch, prepare(batch)
        return
    # High priority, since the many blocks of a step would otherwise delay this little work.
    preparing, computing = torch.cuda.Stream(device, priority=-1), torch.cuda.current_stream(device)
    previous, latest = None, None
    for batch in batches:
        with torch.cuda.stream(preparing):
            ready = prepare(batch)
        computing.wait_stream(preparing)
        for tensor in ready:
            # Otherwise the allocator could reuse its memory for the next batch while the step still reads it.
            tensor.record_stream(computing)
        yield batch, ready
        previous, latest = latest, computing.record_event()
        if previous is not None:
            previous.synchronize()  # The step that was just launched keeps the device busy meanwhile.
