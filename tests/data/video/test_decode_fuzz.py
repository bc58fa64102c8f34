"""Fuzzing: hundreds of corrupted files are stored or reported, without leaking processes, memory or open files."""

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
CASES_PER_FILE = 60
SEED = 20_240

Mutation = Callable[[bytearray, np.random.Generator], None]


def flip_header(data: bytearray, rng: np.random.Generator) -> None:
    for position in rng.integers(0, min(len(data), 1200), rng.integers(1, 12)):
        data[position] = rng.integers(256)


def flip_anywhere(data: bytearray, rng: np.random.Generator) -> None:
    for position in rng.integers(0, len(data), rng.integers(1, 60)):
        data[position] = rng.integers(256)


def extreme_numbers(data: bytearray, rng: np.random.Generator) -> None:
    """Set some aligned four-byte numbers in the header, such as lengths and counts, to zero or a maximum."""
    for position in rng.integers(0, max(1, min(len(data), 2400) // 4), 3):
        data[4 * position : 4 * position + 4] = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"][rng.integers(3)]


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


def write_sources(folder: Path) -> list[Path]:
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


def corrupt_files(folder: Path, seed: int, cases: int) -> list[str]:
    """Write `cases` corrupted copies of each source and return their names; every third is corrupted twice."""
    sources = folder / "sources"
    sources.mkdir()
    rng = np.random.default_rng(seed)
    names = []
    for source in write_sources(sources):
        for number in range(cases):
            data = bytearray(source.read_bytes())
            for _ in range(1 + (number % 3 == 0)):
                if data:
                    MUTATIONS[rng.integers(len(MUTATIONS))](data, rng)
            names.append(f"{source.stem}-{number}{source.suffix}")
            (folder / names[-1]).write_bytes(data)
    return names


def children() -> set[int]:
    """Return the ids of child processes, without the resource tracker of multiprocessing."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # The thread has ended.
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if b"resource_tracker" not in _command(pid)}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b"resource_tracker"  # The process has ended.


class ProcessMonitor(threading.Thread):
    """Records memory and open files of the decoding processes while they run."""

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
def monitor() -> ProcessMonitor:
    return ProcessMonitor(children())


def test_corrupt_files_fail_alone_and_leak_nothing(tmp_path: Path, monitor: ProcessMonitor) -> None:
    names = corrupt_files(tmp_path, SEED, CASES_PER_FILE)
    assert len(names) >= 300
    monitor.start()
    report = FrameStore(tmp_path / "store", SETTINGS).build(
        tmp_path, names, workers=2, seconds_per_clip=20, progress=False
    )
    monitor.over.set()
    monitor.join()
    stored, failed = {clip.path for clip in report.stored}, {clip.path for clip in report.failed}
    assert stored | failed == set(names)
    assert not stored & failed
    assert len(stored) > len(names) / 4
    assert len(failed) > len(names) / 10
    assert all(clip.reason and clip.defect in ("unreadable", "truncated", "no video stream") for clip in report.failed)
    store = FrameStore(tmp_path / "store", SETTINGS)
    for clip in report.stored:
        assert store.read(clip.digest).shape[0] == 4
    assert children() == monitor.others
    for pid, sizes in monitor.megabytes.items():
        # Skip the first fifth, in which libraries are loaded.
        settled = len(sizes) // 5
        assert max(sizes[settled:]) - sizes[settled] < 150, (pid, sizes)
        assert max(monitor.files[pid][settled:]) - monitor.files[pid][settled] <= 4, (pid, monitor.files[pid])
