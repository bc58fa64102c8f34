"""Hundreds of torn files go through the frame store: each is stored or named, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tests.helpers.video_files import moving_square, remux, textured, write_video

SETTINGS = DecodeSettings(frames=4, short_side=32)
CASES_A_FILE = 60
SEED = 20_240

Mutation = Callable[[bytearray, np.random.Generator], None]


def flip_header(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, min(len(data), 1200), rng.integers(1, 12)):
        data[place] = rng.integers(256)


def flip_anywhere(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(data), rng.integers(1, 60)):
        data[place] = rng.integers(256)


def extreme_numbers(data: bytearray, rng: np.random.Generator) -> None:
    """Lengths and counts of four bytes become nothing or enormous, at a header's even places."""
    for place in rng.integers(0, max(1, min(len(data), 2400) // 4), 3):
        data[4 * place : 4 * place + 4] = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"][rng.integers(3)]


def overwrite(data: bytearray, rng: np.random.Generator) -> None:
    start, length = rng.integers(len(data)), rng.integers(1, 3000)
    data[start : start + length] = rng.bytes(min(length, len(data) - start))


def blank(data: bytearray, rng: np.random.Generator) -> None:
    start, length = rng.integers(len(data)), rng.integers(1, 6000)
    data[start : start + length] = bytes(min(length, len(data) - start))


def cut_off(data: bytearray, rng: np.random.Generator) -> None:
    del data[rng.integers(len(data)) :]


def cut_out(data: bytearray, rng: np.random.Generator) -> None:
    start = rng.integers(len(data))
    del data[start : start + rng.integers(1, 2000)]


def swap(data: bytearray, rng: np.random.Generator) -> None:
    size = int(rng.integers(8, max(9, len(data) // 4)))
    first, second = sorted(rng.integers(0, len(data) - size, 2))
    data[first : first + size], data[second : second + size] = (
        data[second : second + size],
        data[first : first + size],
    )


def repeat(data: bytearray, rng: np.random.Generator) -> None:
    start = rng.integers(len(data))
    data[start:start] = data[start : start + rng.integers(1, 4000)]


MUTATIONS: tuple[Mutation, ...] = (
    flip_header, flip_anywhere, extreme_numbers, overwrite, blank, cut_off, cut_out, swap, repeat,
)  # fmt: skip


def sources(folder: Path) -> list[Path]:
    short, rich = moving_square(1, count=20), textured(1, 20)
    files = [
        write_video(folder / "index-last.mp4", rich, options={"g": "8"}),
        write_video(folder / "clip.mkv", rich, options={"g": "8"}),
        write_video(folder / "clip.ts", rich, options={"g": "8"}),
        write_video(folder / "clip.avi", rich, codec="mpeg4"),
        write_video(folder / "clip.webm", short, codec="libvpx", options={"cpu-used": "8"}),
        write_video(folder / "clip.gif", short, codec="gif", pixels="rgb8"),
        write_video(folder / "hevc.mov", rich, codec="libx265", options={"x265-params": "log-level=none"}),
    ]
    files.append(remux(files[0], folder / "index-first.mp4", options={"movflags": "+faststart"}))
    return files


def torn_files(folder: Path, seed: int, cases: int) -> list[str]:
    """Each source torn in `cases` ways, some of them in two at once."""
    whole = folder / "whole"
    whole.mkdir()
    rng = np.random.default_rng(seed)
    names = []
    for source in sources(whole):
        for number in range(cases):
            data = bytearray(source.read_bytes())
            for _ in range(1 + (number % 3 == 0)):
                if data:
                    MUTATIONS[rng.integers(len(MUTATIONS))](data, rng)
            names.append(f"{source.stem}-{number}{source.suffix}")
            (folder / names[-1]).write_bytes(data)
    return names


def children() -> set[int]:
    """Processes started by this one, without multiprocessing's own that tracks its resources."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # A thread may end meanwhile.
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if b"resource_tracker" not in _command(pid)}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b"resource_tracker"  # It is gone.


class Watch(threading.Thread):
    """Memory and open files of the decoding processes, as they go."""

    def __init__(self, others: set[int]) -> None:
        super().__init__(daemon=True)
        self.others = others
        self.over = threading.Event()
        self.megabytes: dict[int, list[int]] = {}
        self.files: dict[int, list[int]] = {}

    def run(self) -> None:
        while not self.over.wait(0.1):
            for pid in children() - self.others:
                try:
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    files = len(os.listdir(f"/proc/{pid}/fd"))
                except OSError:
                    continue
                self.megabytes.setdefault(pid, []).append(pages * os.sysconf("SC_PAGE_SIZE") // 2**20)
                self.files.setdefault(pid, []).append(files)


@pytest.fixture
def watch() -> Watch:
    return Watch(children())


def test_torn_files_cost_themselves_alone(tmp_path: Path, watch: Watch) -> None:
    names = torn_files(tmp_path, SEED, CASES_A_FILE)
    assert len(names) >= 300
    watch.start()
    report = FrameStore(tmp_path / "store", SETTINGS).build(
        tmp_path, names, workers=2, seconds_per_clip=20, progress=False
    )
    watch.over.set()
    watch.join()
    stored, failed = {clip.path for clip in report.stored}, {clip.path for clip in report.failed}
    assert stored | failed == set(names)
    assert not stored & failed
    assert len(stored) > len(names) / 4
    assert len(failed) > len(names) / 10
    assert all(clip.reason and clip.defect in ("unreadable", "truncated", "no video stream") for clip in report.failed)
    store = FrameStore(tmp_path / "store", SETTINGS)
    for clip in report.stored:
        assert store.read(clip.digest).shape[0] == 4
    assert children() == watch.others
    for pid, sizes in watch.megabytes.items():
        # From the first fifth on, when all that is loaded once is there.
        settled = len(sizes) // 5
        assert max(sizes[settled:]) - sizes[settled] < 150, (pid, sizes)
        assert max(watch.files[pid][settled:]) - watch.files[pid][settled] <= 4, (pid, watch.files[pid])
