from __future__ import annotations

from collections.abc import Iterator

import torch

from tuning.training.prefetch import prefetch_to_device

CPU = torch.device("cpu")


def test_batches_are_yielded_in_order_with_their_prepared_tensors() -> None:
    found = list(prefetch_to_device(range(3), lambda number: (torch.tensor(number), torch.tensor(-number)), CPU))
    assert [(number, int(a), int(b)) for number, (a, b) in found] == [(0, 0, 0), (1, 1, -1), (2, 2, -2)]


def test_batches_are_drawn_and_prepared_lazily() -> None:
    done: list[str] = []

    def batches() -> Iterator[int]:
        for number in range(3):
            done.append(f"draw {number}")
            yield number

    def prepare(number: int) -> tuple[torch.Tensor]:
        done.append(f"prepare {number}")
        return (torch.tensor(number),)

    for number, _ in prefetch_to_device(batches(), prepare, CPU):
        done.append(f"step {number}")
    assert done == [f"{action} {number}" for number in range(3) for action in ("draw", "prepare", "step")]
