"""Random numbers that depend on a seed and on names, not on the order in which they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np


def named_generator(seed: int, *names: str) -> np.random.Generator:
    """Return a random generator whose stream depends on the seed and the names alone."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))
