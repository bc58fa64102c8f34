"""What the frame store saves and what it costs, as ratios measured in one run.

    python -m benchmarks.store

Batches from the store against decoding them, memory of four workers against one, stores of 100,000 clips against 1,000.
Memory is that of fresh processes, which is why torch is imported late here. Takes minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from tabulate import tabulate

from data.store.entry_folder import EntryFolder
from data.store.frame_store import FrameStore
from data.store.index import INDEX, FileState, open_index
from data.video.decode import ClipFacts, DecodeSettings, decode_clip

if TYPE_CHECKING:
    import torch

SPAWN = multiprocessing.get_context("spawn")
FRAMES, SIZE = 16, 112
BATCH = 8


@dataclass(frozen=True, slots=True)
class Pair:
    """Two figures taken one right after the other."""

    one: float
    other: float


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each measurement; default: 5")
    parser.add_argument("--clips", type=int, default=100_000, metavar="N", help="of the large store; default: 100000")
    parser.add_argument("--small", type=int, default=1_000, metavar="N", help="of the small one; default: 1000")
    args = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows += _batch_rows(root / "batch", args.repeats)
        rows += _worker_rows(root / "workers", args.repeats)
        rows += _opening_rows(root, args.small, args.clips, args.repeats)
        rows += _build_rows(root / "build", args.repeats)
    print(tabulate(rows, ["what", "first", "second", "second / first", "least to most", "goal"], tablefmt="github"))


def _row(what: str, pairs: list[Pair], unit: str, goal: str) -> list[str]:
    ratios = sorted(pair.other / pair.one for pair in pairs)
    first, second = statistics.median(p.one for p in pairs), statistics.median(p.other for p in pairs)
    spread = f"{_short(ratios[0])} to {_short(ratios[-1])}"
    ratio = _short(statistics.median(ratios))
    return [what, f"{_short(first)} {unit}", f"{_short(second)} {unit}", ratio, spread, goal]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def _batch_rows(root: Path, repeats: int) -> list[list[str]]:
    """A batch of clips of 720p, 60 frames each."""
    import torch

    torch.set_num_threads(1)  # As each process of a loader has it.
    paths = [f"{number}.mp4" for number in range(BATCH)]
    _write_720p(root / "clips" / paths[0])
    _vary(root / "clips" / paths[0], [root / "clips" / path for path in paths[1:]])
    rows = []
    for side, work, what in [
        (128, _pick_and_crop, "picked and cropped"),
        (SIZE, _as_evaluated, "as evaluation shows it, stored at its size"),
        (128, _as_evaluated, "as evaluation shows it, to be scaled from 128"),
    ]:
        store = FrameStore(root / "store", DecodeSettings(short_side=side))
        build = store.build(root / "clips", paths, progress=False)
        read = partial(_stored_batch, store, [clip.digest for clip in build.stored], work)
        settings = DecodeSettings(frames=FRAMES, short_side=side)
        decode = partial(_decoded_batch, [root / "clips" / path for path in paths], settings, work)
        read()
        decode()
        pairs = [
            Pair(statistics.median(_milliseconds(read) for _ in range(9)), _milliseconds(decode))
            for _ in range(repeats)
        ]
        title = f"batch of {BATCH} clips, {FRAMES} frames of 720p to {SIZE}², {what}: store, decoding"
        rows.append(_row(title, pairs, "ms", "≥ 300"))
    return rows


def _write_720p(file: Path) -> None:
    """A camera that pans over a textured room, two seconds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(0).integers(0, 255, (100, 180, 3)).astype(np.uint8)
    room = av.VideoFrame.from_ndarray(coarse, format="rgb24").reformat(width=1800, height=1000, interpolation="BICUBIC")
    picture = room.to_ndarray()
    views = (picture[2 * step : 2 * step + 720, 8 * step : 8 * step + 1280] for step in range(60))
    _encode(file, views, width=1280, height=720)


def _encode(file: Path, pictures: Iterable[np.ndarray], *, width: int, height: int) -> None:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _vary(file: Path, copies: Iterable[Path]) -> None:
    """Copies that differ in last bytes that no decoder looks at: other clips to the store."""
    content = file.read_bytes()
    for number, copy in enumerate(copies, start=1):
        copy.write_bytes(content + number.to_bytes(4, "big"))


Work = Callable[[np.ndarray], "torch.Tensor"]


def _stored_batch(store: FrameStore, digests: list[str], work: Work) -> torch.Tensor:
    import torch

    return torch.stack([work(store.read(digest)) for digest in digests])


def _decoded_batch(files: list[Path], settings: DecodeSettings, work: Work) -> torch.Tensor:
    import torch

    return torch.stack([work(decode_clip(file, settings).frames) for file in files])


def _pick_and_crop(frames: np.ndarray) -> torch.Tensor:
    import torch

    from data.loading.sampling import eval_frame_indices

    top, left = (frames.shape[1] - SIZE) // 2, (frames.shape[2] - SIZE) // 2
    return torch.from_numpy(frames[eval_frame_indices(len(frames), FRAMES), top : top + SIZE, left : left + SIZE])


def _as_evaluated(frames: np.ndarray) -> torch.Tensor:
    from data.loading.model_input import eval_frames
    from data.loading.transforms import EvalTransform

    return eval_frames(frames, FRAMES, EvalTransform(SIZE))


def _worker_rows(root: Path, repeats: int) -> list[list[str]]:
    """Workers that have each read all of 128 stored clips of 2 MB."""
    folder, digests = EntryFolder(FrameStore(root, DecodeSettings()).folder), []
    rng = np.random.default_rng(0)
    for number in range(128):
        digests.append(_digest(number))
        folder.put(digests[-1], rng.integers(0, 255, (32, 128, 171, 3), dtype=np.uint8), _facts())
    pairs = [Pair(_workers_memory(root, digests, 1), _workers_memory(root, digests, 4)) for _ in range(repeats)]
    size = sum(folder.size(digest) for digest in digests) / 1e6
    return [_row(f"memory (PSS) that reading {size:.0f} MB of clips adds: 1 worker, 4 workers", pairs, "MB", "1")]


def _workers_memory(root: Path, digests: list[str], count: int) -> float:
    results, together = SPAWN.Queue(), SPAWN.Barrier(count)
    workers = [SPAWN.Process(target=_read_all, args=(root, digests, together, results)) for _ in range(count)]
    for worker in workers:
        worker.start()
    added = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    return added


def _read_all(root: Path, digests: list[str], together: Any, results: Any) -> None:
    """MB that this process's share of memory grows by, while all workers hold all clips."""
    store = FrameStore(root, DecodeSettings())
    store.read(digests[0]).sum()
    together.wait()
    before = _own_memory("smaps_rollup", "Pss")
    together.wait()
    held = [store.read(digest) for digest in digests]
    assert sum(int(frames.sum(dtype=np.int64)) for frames in held) > 0
    together.wait()
    results.put(_own_memory("smaps_rollup", "Pss") - before)
    together.wait()


def _own_memory(file: str, field: str) -> float:
    """MB."""
    for line in Path(f"/proc/self/{file}").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"{file} has no {field}")


def _opening_rows(root: Path, small: int, large: int, repeats: int) -> list[list[str]]:
    """Folders of links to a few videos, and stores that know them: all of the index is real, the entries are few."""
    for count in (small, large):
        _known_store(root / f"known-{count}", count)
    names = f"{small:,} clips, {large:,} clips"
    rows = []
    for work, what, time_goal, memory_goal in [
        (_open, "opening a store and reading a clip", "second < 1 s", "1"),
        (_rebuild, "building a store when nothing changed", "", "paths and report alone grow"),
    ]:
        pairs = [(_alone(work, root, small), _alone(work, root, large)) for _ in range(repeats)]
        times, peaks = [Pair(a[0], b[0]) for a, b in pairs], [Pair(a[1], b[1]) for a, b in pairs]
        rows.append(_row(f"{what}, time: {names}", times, "ms", time_goal))
        rows.append(_row(f"the same, peak memory of the process: {names}", peaks, "MB", memory_goal))
    return rows


def _known_store(root: Path, count: int) -> None:
    store = FrameStore(root / "store", DecodeSettings())
    entries = EntryFolder(store.folder)
    clips = root / "clips"
    clips.mkdir(parents=True)
    entry = entries.put(_digest(0), np.zeros((32, 4, 4, 3), np.uint8), _facts())
    for number in range(0, count, 10_000):
        (root / f"video-{number}").write_bytes(b"video")
    for number in range(count):
        os.link(root / f"video-{number // 10_000 * 10_000}", clips / f"{number}.mp4")
    time.sleep(0.2)
    with open_index(store.folder / INDEX) as index:
        for number in range(count):
            file = clips / f"{number}.mp4"
            index.record_file(file, FileState.of(file), _digest(0))
            index.record_entry(_digest(number), entry)


def _alone(work: Callable[[Path, int], object], root: Path, count: int) -> tuple[float, float]:
    """Milliseconds, and the peak of a fresh process's memory in MB."""
    results = SPAWN.Queue()
    process = SPAWN.Process(target=_measure, args=(work, root / f"known-{count}", count, results))
    process.start()
    found = results.get()
    process.join()
    return found


def _measure(work: Callable[[Path, int], object], root: Path, count: int, results: Any) -> None:
    taken = _milliseconds(partial(work, root, count))
    results.put((taken, _own_memory("status", "VmHWM")))


def _open(root: Path, count: int) -> None:
    store, file = FrameStore(root / "store", DecodeSettings()), root / f"clips/{count - 1}.mp4"
    with open_index(store.folder / INDEX) as index:
        recalled = index.lookup(file, FileState.of(file), "")
    assert recalled is not None
    store.read(recalled.digest)


def _rebuild(root: Path, count: int) -> None:
    paths = [f"{number}.mp4" for number in range(count)]
    report = FrameStore(root / "store", DecodeSettings()).build(root / "clips", paths, progress=False)
    assert (len(report.stored), report.decoded) == (count, 0)


def _build_rows(root: Path, repeats: int) -> list[list[str]]:
    """Small videos, so that what is not decoding shows."""
    small, large = 100, 1_000
    clips = root / "clips"
    clips.mkdir(parents=True)
    pictures = (np.full((48, 64, 3), 20 * step, np.uint8) for step in range(12))
    _encode(clips / "0.mp4", pictures, width=64, height=48)
    _vary(clips / "0.mp4", [clips / f"{number}.mp4" for number in range(1, large + 10)])
    pairs, added = [], set()
    for _ in range(repeats):
        found = []
        for count in (small, large):
            with tempfile.TemporaryDirectory() as store:
                results = SPAWN.Queue()
                process = SPAWN.Process(target=_first_build, args=(Path(store), clips, count, results))
                process.start()
                found.append(results.get())
                process.join()
                if count == large:
                    added.add(_decoded(Path(store), clips, large + 10))
        pairs.append(found)
    names = f"{small:,} clips, {large:,} clips"
    return [
        _row(f"first build, time a clip: {names}", [Pair(a[0], b[0]) for a, b in pairs], "ms", "1"),
        _row(f"first build, peak memory of the builder: {names}", [Pair(a[1], b[1]) for a, b in pairs], "MB", "1"),
        _row(f"first build, peak memory of a decoder: {names}", [Pair(a[2], b[2]) for a, b in pairs], "MB", "1"),
        [f"10 clips added to {large:,}: decoded", ", ".join(map(str, sorted(added))), "", "", "", "10"],
    ]


def _decoded(root: Path, clips: Path, count: int) -> int:
    paths = [f"{number}.mp4" for number in range(count)]
    report = FrameStore(root, DecodeSettings(frames=4, short_side=32)).build(clips, paths, progress=False)
    assert len(report.stored) == count
    return report.decoded


def _first_build(root: Path, clips: Path, count: int, results: Any) -> None:
    """Milliseconds a clip, MB of this process at its peak, MB of the largest decoding process at its peak."""
    taken = _milliseconds(partial(_decoded, root, clips, count))
    decoders = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    results.put((taken / count, _own_memory("status", "VmHWM"), decoders))


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _facts() -> ClipFacts:
    return ClipFacts("mov,mp4,m4a,3gp,3g2,mj2", "h264", 1280, 720, 0, 30.0, False, 60, 60, 2.0, False, "")


if __name__ == "__main__":
    main()
