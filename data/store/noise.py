"""Entries of noise in place of decoded clips, to measure training without any video."""

from __future__ import annotations

import numpy as np

from data.store.entry_folder import EntryFolder
from data.store.frame_store import FrameStore
from data.video.decode import ClipFacts


def write_noise(store: FrameStore, count: int, width: int, height: int) -> list[str]:
    """Add the entries of `count` clips of noise that the store lacks, and return their digests.

    Args:
        store: a store in a folder; its settings give the number of frames.
        count: number of clips.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
    """
    frames, entries, rng = store.settings.frames, EntryFolder(store.folder), np.random.default_rng(0)
    facts = ClipFacts(
        container="none",
        codec="none",
        width=width,
        height=height,
        rotation=0,
        fps=30.0,
        variable_rate=False,
        packets=frames,
        frames=frames,
        duration=frames / 30,
        sought=False,
        damage="",
    )
    digests = [f"{number:064x}" for number in range(count)]
    for digest in digests:
        if not entries.file(digest).exists():
            entries.put(digest, rng.integers(0, 256, (frames, height, width, 3), np.uint8), facts)
    return digests
