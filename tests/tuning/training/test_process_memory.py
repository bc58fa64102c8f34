from __future__ import annotations

import json
import os

from tests.helpers.processes import call_in_new_process
from tuning.training.process_memory import current_memory, peak_memory, private_memory

HELD = 10**8


def print_memory() -> None:
    """Print this process's memory before, during and after it holds an array."""
    before = current_memory()
    # Nonzero bytes: pages of zeros need no memory until they are written to.
    held = bytearray(b"x") * (HELD + max(0, peak_memory() - before))
    size, during, private = len(held), current_memory(), private_memory(os.getpid())
    del held
    print(json.dumps([size, before, during, private, current_memory(), peak_memory()]))


def test_peak_memory_remains_after_memory_is_released() -> None:
    size, before, during, private, after, peak = json.loads(call_in_new_process(print_memory))
    assert size >= HELD
    assert during - before > 0.9 * size
    assert private > 0.9 * size
    assert after < during - 0.9 * size
    # Pages of files are subtracted as they are now, so the peak is off by what was mapped since.
    assert peak > 0.99 * during


def test_private_memory_of_an_unknown_process_is_0() -> None:
    assert private_memory(2**31 - 1) == 0
