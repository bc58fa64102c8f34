from __future__ import annotations

from collections.abc import Iterator

import torch

from tuning.training.prefetch import prefetch_to_device

CPU = torch.device("cpu")


def test_batches_come_in_order_with_what_was_made_of_them() -> None:
    found = list(prefetch_to_device(range(3), lambda number: (torch.tensor(number), torch.tensor(-number)), CPU))
    assert [(number, int(a), int(b)) for number, (a, b) in found] == [(0, 0, 0), (1, 1, -1), (2, 2, -2)]


def test_nothing_is_drawn_or_made_before_it_is_asked_for() -> None:
    done: list[str] = []

    def draws() -> Iterator[int]:
        for number in range(3):
            done.append(f"draw {number}")
            yield number

    def prepare(number: int) -> tuple[torch.Tensor]:
        done.append(f"make {number}")
        return (torch.tensor(number),)

    for number, _ in prefetch_to_device(draws(), prepare, CPU):
        done.append(f"step {number}")
    assert done == [f"{what} {number}" for number in range(3) for what in ("draw", "make", "step")]
