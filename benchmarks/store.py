"""What the frame store saves and what it costs, as ratios measured in one run. It takes minutes.

    python -m benchmarks.store

Reading batches from the store against decoding them; the memory of four workers against one; a store of 100,000 clips
against one of 1,000; building a store of 1,000 clips against one of 100.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.tables import markdown_table
from benchmarks.helpers.videos import encode_video, resized
from data.store.entry_folder import EntryFolder
from data.store.frame_store import FrameStore
from data.store.index import INDEX, FileState, open_index
from data.video.decode import ClipFacts, DecodeSettings, decode_clip

# PyTorch is imported in the functions that need it, because the memory of fresh processes without it is measured.
if TYPE_CHECKING:
    import torch

SPAWN = multiprocessing.get_context("spawn")
FRAMES, SIZE = 16, 112
BATCH = 8
SMALL_BUILD, LARGE_BUILD, ADDED = 100, 1_000, 10
BUILD_SETTINGS = DecodeSettings(frames=4, short_side=32)


@dataclass(frozen=True, slots=True)
class PairedMeasurement:
    """Two values that were measured one right after the other."""

    first: float
    second: float


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each measurement; default: 5")
    parser.add_argument("--clips", type=int, default=100_000, metavar="N", help="of the large store; default: 100000")
    parser.add_argument("--small", type=int, default=1_000, metavar="N", help="of the small one; default: 1000")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = [
            *_batch_rows(root / "batch", args.repeats),
            _worker_row(root / "workers", args.repeats),
            *_opening_rows(root, args.small, args.clips, args.repeats),
            *_build_rows(root / "build", args.repeats),
        ]
    print(markdown_table(rows, ["what", "first", "second", "second / first", "smallest to largest", "goal"]))


def _row(what: str, pairs: Sequence[PairedMeasurement], unit: str, goal: str) -> list[str]:
    quotients = sorted(pair.second / pair.first for pair in pairs)
    medians = (statistics.median(p.first for p in pairs), statistics.median(p.second for p in pairs))
    span = f"{_short(quotients[0])} to {_short(quotients[-1])}"
    return [what, *(f"{_short(each)} {unit}" for each in medians), _short(statistics.median(quotients)), span, goal]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def _in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the function returns when it is called in a process of its own."""
    results = SPAWN.Queue()
    process = SPAWN.Process(target=_put_result, args=(results, function, arguments))
    process.start()
    result = results.get()
    process.join()
    return result


def _put_result(results: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    results.put(function(*arguments))


def _own_memory(file: str, field: str) -> float:
    """Return a field of one of this process's files in `/proc`, in MB."""
    for line in Path(f"/proc/self/{file}").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"{file} has no {field}")


def _batch_rows(root: Path, repeats: int) -> list[list[str]]:
    """Compare reading and decoding a batch of 720p clips with 60 frames each."""
    import torch

    torch.set_num_threads(1)  # As in each process of a loader.
    paths = [f"{number}.mp4" for number in range(BATCH)]
    files = [root / "clips" / path for path in paths]
    files[0].parent.mkdir(parents=True)
    encode_video(files[0], _panning_frames(), fps=30)
    _write_copies(files[0], files[1:])
    rows = []
    for short_side, prepare, what in [
        (128, _select_and_crop, "selected and cropped"),
        (SIZE, _prepare_for_evaluation, "as in evaluation, stored at its size"),
        (128, _prepare_for_evaluation, "as in evaluation, scaled from 128"),
    ]:
        store = FrameStore(root / "store", DecodeSettings(short_side=short_side))
        build = store.build(root / "clips", paths, progress=False)
        read = partial(_read_batch, store, [clip.digest for clip in build.stored], prepare)
        decode = partial(_decode_batch, files, DecodeSettings(frames=FRAMES, short_side=short_side), prepare)
        # Once without measuring, to load libraries and files.
        read()
        decode()
        pairs = [
            PairedMeasurement(statistics.median(_milliseconds(read) for _ in range(9)), _milliseconds(decode))
            for _ in range(repeats)
        ]
        title = f"batch of {BATCH} clips, {FRAMES} frames of 720p to {SIZE}², {what}: from the store, by decoding"
        rows.append(_row(title, pairs, "ms", "≥ 300"))
    return rows


def _panning_frames() -> Iterator[np.ndarray]:
    """Yield two seconds of a camera that pans over a textured room."""
    texture = np.random.default_rng(0).integers(0, 255, (100, 180, 3)).astype(np.uint8)
    room = resized(texture, 1800, 1000)
    for step in range(60):
        yield room[2 * step : 2 * step + 720, 8 * step : 8 * step + 1280]


def _write_copies(file: Path, copies: Iterable[Path]) -> None:
    """Write copies that differ in their last bytes, which decoders ignore: the store takes them for other clips."""
    content = file.read_bytes()
    for number, copy in enumerate(copies, start=1):
        copy.write_bytes(content + number.to_bytes(4, "big"))


Prepare = Callable[[np.ndarray], "torch.Tensor"]
"""From a clip's stored frames to what a batch has of it."""


def _read_batch(store: FrameStore, digests: Sequence[str], prepare: Prepare) -> torch.Tensor:
    import torch

    return torch.stack([prepare(store.read(digest)) for digest in digests])


def _decode_batch(files: Sequence[Path], settings: DecodeSettings, prepare: Prepare) -> torch.Tensor:
    import torch

    return torch.stack([prepare(decode_clip(file, settings).frames) for file in files])


def _select_and_crop(frames: np.ndarray) -> torch.Tensor:
    import torch

    from data.loading.frame_selection import FrameSelection

    top, left = (frames.shape[1] - SIZE) // 2, (frames.shape[2] - SIZE) // 2
    indices = FrameSelection(FRAMES).eval_indices(len(frames))
    return torch.from_numpy(frames[indices, top : top + SIZE, left : left + SIZE])


def _prepare_for_evaluation(frames: np.ndarray) -> torch.Tensor:
    from data.loading.frame_selection import FrameSelection
    from data.loading.model_input import eval_frames
    from data.loading.transforms import EvalTransform

    return eval_frames(frames, FrameSelection(FRAMES), EvalTransform(SIZE))


def _worker_row(root: Path, repeats: int) -> list[str]:
    """Compare the memory of workers that have each read all of 128 stored clips of 2 MB."""
    folder, digests = EntryFolder(FrameStore(root, DecodeSettings()).folder), []
    rng = np.random.default_rng(0)
    for number in range(128):
        digests.append(_digest(number))
        folder.put(digests[-1], rng.integers(0, 255, (32, 128, 171, 3), dtype=np.uint8), _facts())
    pairs = [
        PairedMeasurement(_workers_memory(root, digests, 1), _workers_memory(root, digests, 4)) for _ in range(repeats)
    ]
    size = sum(folder.file(digest).stat().st_size for digest in digests) / 1e6
    return _row(f"memory (PSS) added by reading {size:.0f} MB of clips: 1 worker, 4 workers", pairs, "MB", "1")


def _workers_memory(root: Path, digests: Sequence[str], count: int) -> float:
    """Return the memory in MB that `count` workers together add by reading all clips."""
    results, barrier = SPAWN.Queue(), SPAWN.Barrier(count)
    workers = [SPAWN.Process(target=_read_all, args=(root, digests, barrier, results)) for _ in range(count)]
    for worker in workers:
        worker.start()
    added = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    return added


def _read_all(root: Path, digests: Sequence[str], barrier: Any, results: Any) -> None:
    """Put the MB by which this process's share of memory grows while all workers have all clips mapped."""
    store = FrameStore(root, DecodeSettings())
    store.read(digests[0]).sum()
    barrier.wait()
    before = _own_memory("smaps_rollup", "Pss")
    barrier.wait()
    mapped = [store.read(digest) for digest in digests]
    assert sum(int(frames.sum(dtype=np.int64)) for frames in mapped) > 0
    barrier.wait()
    results.put(_own_memory("smaps_rollup", "Pss") - before)
    barrier.wait()


def _opening_rows(root: Path, small: int, large: int, repeats: int) -> list[list[str]]:
    """Compare stores by their number of clips; the clips are links to a few videos, but the index is complete."""
    for count in (small, large):
        _fill_store(root / f"filled-{count}", count)
    counts = f"{small:,} clips, {large:,} clips"
    rows = []
    for work, what, time_goal, memory_goal in [
        (_open_and_read, "opening a store and reading a clip", "second < 1 s", "1"),
        (_build_unchanged, "building a store if nothing changed", "", "only paths and the build report grow"),
    ]:
        pairs = [
            [_in_fresh_process(_measure, work, root / f"filled-{count}", count) for count in (small, large)]
            for _ in range(repeats)
        ]
        times, peaks = ([PairedMeasurement(a[i], b[i]) for a, b in pairs] for i in (0, 1))
        rows.append(_row(f"{what}, time: {counts}", times, "ms", time_goal))
        rows.append(_row(f"the same, peak memory of the process: {counts}", peaks, "MB", memory_goal))
    return rows


def _fill_store(root: Path, count: int) -> None:
    store = FrameStore(root / "store", DecodeSettings())
    clips = root / "clips"
    clips.mkdir(parents=True)
    entry = EntryFolder(store.folder).put(_digest(0), np.zeros((32, 4, 4, 3), np.uint8), _facts())
    # File systems limit the number of links to a file.
    links_per_video = 10_000
    for number in range(0, count, links_per_video):
        (root / f"video-{number}").write_bytes(b"video")
    for number in range(count):
        os.link(root / f"video-{number // links_per_video * links_per_video}", clips / f"{number}.mp4")
    # The index records only files that have not changed for a moment.
    time.sleep(0.2)
    with open_index(store.folder / INDEX) as index:
        for number in range(count):
            file = clips / f"{number}.mp4"
            index.record_file(file, FileState.of(file), _digest(0))
            index.record_entry(_digest(number), entry)


def _measure(work: Callable[[Path, int], object], root: Path, count: int) -> tuple[float, float]:
    """Return the milliseconds that the work takes, and this process's peak memory in MB."""
    milliseconds = _milliseconds(partial(work, root, count))
    return milliseconds, _own_memory("status", "VmHWM")


def _open_and_read(root: Path, count: int) -> None:
    store, file = FrameStore(root / "store", DecodeSettings()), root / f"clips/{count - 1}.mp4"
    with open_index(store.folder / INDEX) as index:
        record = index.lookup(file, FileState.of(file), "")
    assert record is not None
    store.read(record.digest)


def _build_unchanged(root: Path, count: int) -> None:
    paths = [f"{number}.mp4" for number in range(count)]
    report = FrameStore(root / "store", DecodeSettings()).build(root / "clips", paths, progress=False)
    assert (len(report.stored), report.decoded) == (count, 0)


def _build_rows(root: Path, repeats: int) -> list[list[str]]:
    """Compare first builds by their number of clips, with small videos so that the work besides decoding shows."""
    clips = root / "clips"
    clips.mkdir(parents=True)
    frames = (np.full((48, 64, 3), 20 * step, np.uint8) for step in range(12))
    encode_video(clips / "0.mp4", frames, fps=30)
    _write_copies(clips / "0.mp4", [clips / f"{number}.mp4" for number in range(1, LARGE_BUILD + ADDED)])
    pairs, added = [], set()
    for _ in range(repeats):
        builds = []
        for count in (SMALL_BUILD, LARGE_BUILD):
            with tempfile.TemporaryDirectory() as store:
                builds.append(_in_fresh_process(_first_build, Path(store), clips, count))
                if count == LARGE_BUILD:
                    added.add(_build(Path(store), clips, LARGE_BUILD + ADDED))
        pairs.append(builds)
    times, builders, decoders = ([PairedMeasurement(a[i], b[i]) for a, b in pairs] for i in range(3))
    counts = f"{SMALL_BUILD:,} clips, {LARGE_BUILD:,} clips"
    return [
        _row(f"first build, time per clip: {counts}", times, "ms", "1"),
        _row(f"first build, peak memory of the builder: {counts}", builders, "MB", "1"),
        _row(f"first build, peak memory of a decoder: {counts}", decoders, "MB", "1"),
        [
            f"{ADDED} clips added to {LARGE_BUILD:,}: decoded",
            ", ".join(map(str, sorted(added))),
            "",
            "",
            "",
            str(ADDED),
        ],
    ]


def _build(root: Path, clips: Path, count: int) -> int:
    """Build a store and return the number of clips that were decoded."""
    paths = [f"{number}.mp4" for number in range(count)]
    report = FrameStore(root, BUILD_SETTINGS).build(clips, paths, progress=False)
    assert len(report.stored) == count
    return report.decoded


def _first_build(root: Path, clips: Path, count: int) -> tuple[float, float, float]:
    """Return the milliseconds per clip, and the peak memory in MB of this process and of its largest decoder."""
    milliseconds = _milliseconds(partial(_build, root, clips, count))
    decoder = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    return milliseconds / count, _own_memory("status", "VmHWM"), decoder


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _facts() -> ClipFacts:
    """Return facts about a clip, none of which matter here."""
    return ClipFacts("mov,mp4,m4a,3gp,3g2,mj2", "h264", 1280, 720, 0, 30.0, False, 60, 60, 2.0, False, "")


if __name__ == "__main__":
    main()
