"""An epoch of clips by this project's loader and by those that people use instead.

    python -m benchmarks.loaders

Generated clips of 720p and two seconds, 16 frames of each at 112x112, shuffled, cut out at random and mirrored, batches
of 8, all within one process on one thread. A round goes through an epoch of every loader; the table gives CPU time a
clip and the ratio to this project's (median, least and greatest of the rounds). `first epoch` decodes all clips into an
empty frame store and then reads it; `10 epochs` has that once and nine epochs from the store.

The peers are not among the requirements; what can't be imported or run is named with the reason:

    pip install --no-deps pytorchvideo==0.1.5 fvcore iopath parameterized portalocker yacs termcolor decord==0.6.0 \\
        torchcodec==0.17.0 opencv-python-headless==5.0.0.93
    apt-get install ffmpeg    # the libraries that torchcodec loads
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.decoding import middles
from benchmarks.decoding_trial import FramesFromFiles
from benchmarks.large_clips import Kind, write_large_clips
from benchmarks.spread import ratios, spread
from data.clip import Clip
from data.dataset.clips import scan_clips
from data.loading.frame_selection import FrameSelection
from data.loading.loaders import TrainDataset, train_loader
from data.loading.sampling import EpochSampler
from data.loading.transforms import TrainTransform
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings

FRAMES, SIZE, SHORT_SIDE, BATCH = 16, 112, 128, 8
SECONDS = 2.0
OURS = "this project, from the store"

Epoch = Callable[[], Iterator[Any]]


@dataclass(frozen=True)
class Folder:
    """The clips to load."""

    root: Path
    clips: tuple[Clip, ...]

    @property
    def files(self) -> list[tuple[str, int]]:
        """Path and label of each."""
        names = sorted({clip.label for clip in self.clips})
        return [(str(self.root / clip.path), names.index(clip.label)) for clip in self.clips]


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "clips")
        write_large_clips(root, args.clips, Kind(SECONDS))
        clips = Folder(root, scan_clips(root).clips)
        loaders, missing = find_loaders(clips, Path(folder, "store"))
        found = _measure(loaders, len(clips.clips), args.rounds)
    print(f"{len(clips.clips)} clips, {args.rounds} rounds, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
    print(_table(found))
    for line in missing:
        print(f"- {line}")


def find_loaders(clips: Folder, store: Path) -> tuple[dict[str, Epoch], list[str]]:
    """Those that run here by name and version, and a line on each that does not."""
    found: dict[str, Epoch] = {}
    missing = []
    makers: dict[str, Callable[[Folder], tuple[str, Epoch]]] = {
        "this project": lambda clips: (OURS, _ours(clips, store)),
        "first epoch": lambda clips: ("this project, first epoch", _ours_from_nothing(clips, store.with_name("new"))),
        "PyAV, wanted frames": _wanted_frames,
        "PyAV, every frame": _every_frame,
        "decord": _decord,
        "torchcodec": _torchcodec,
        "OpenCV": _opencv,
        "PyTorchVideo": _pytorchvideo,
    }
    for name, make in makers.items():
        try:
            label, epoch = make(clips)
            next(iter(epoch()))
        except Exception as error:  # A peer may fail in any way: that is what is told of it.
            missing.append(f"{name}: {type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
        else:
            found[label] = epoch
    return found, missing


def _measure(loaders: dict[str, Epoch], clips: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds a clip of each round."""
    found: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, epoch in loaders.items():
            began, seen = time.process_time(), 0
            for frames in epoch():
                assert frames.shape[1:] in ((FRAMES, 3, SIZE, SIZE), (3, FRAMES, SIZE, SIZE)), frames.shape
                seen += len(frames)
            found[name].append((time.process_time() - began) / seen)
            assert seen == clips, (name, seen)
    return found


def _table(found: dict[str, list[float]]) -> str:
    ours = found[OURS]
    ten = [(first + 9 * later) / 10 for first, later in zip(found["this project, first epoch"], ours, strict=True)]
    rows = {**found, "this project, mean of 10 epochs": ten}
    return tabulate(
        [
            [
                name,
                f"{1000 * statistics.median(seconds):.3g} ms",
                spread(ratios(seconds, ours), ".3g"),
                spread(ratios(seconds, ten), ".3g"),
            ]
            for name, seconds in rows.items()
        ],
        ["loader", "CPU time a clip", "/ from the store", "/ mean of 10 epochs"],
        tablefmt="github",
        disable_numparse=True,
    )


def _ours(clips: Folder, place: Path) -> Epoch:
    store = FrameStore(place, DecodeSettings(FRAMES, SHORT_SIDE))
    names = sorted({clip.label for clip in clips.clips})
    build = store.build(clips.root, [clip.path for clip in clips.clips], workers=1, progress=False)
    return from_store(build.labelled(clips.clips, names), store, BATCH)


def from_store(labelled: Sequence[LabelledFrames], store: FrameStore, batch_size: int) -> Epoch:
    """Stored clips as a trial trains on them, each time another epoch."""
    dataset = TrainDataset(
        labelled, store, selection=FrameSelection(FRAMES), transform=TrainTransform(SIZE, 0.75), seed=0
    )
    sampler = EpochSampler([clip.label for clip in labelled], "imbalanced", seed=0)
    loader = train_loader(dataset, sampler, batch_size=batch_size, workers=0, pin_memory=False)
    epochs = iter(range(1, 1_000_000))

    def epoch() -> Iterator[Any]:
        sampler.set_epoch(next(epochs))
        for batch in loader:
            yield batch.frames

    return epoch


def _ours_from_nothing(clips: Folder, place: Path) -> Epoch:
    """Decoded in this process, so that its CPU time is seen: builders' own processes are not."""

    def epoch() -> Iterator[Any]:
        from data.files import file_sha256
        from data.store.entry_folder import EntryFolder
        from data.video.decode import decode_clip

        shutil.rmtree(place, ignore_errors=True)
        store = FrameStore(place, DecodeSettings(FRAMES, SHORT_SIDE))
        entries = EntryFolder(store.folder)
        for clip in clips.clips:
            decoded = decode_clip(clips.root / clip.path, store.settings)
            entries.put(file_sha256(clips.root / clip.path), decoded.frames, decoded.facts)
        yield from _ours(clips, place)()

    return epoch


class _Files(Dataset[torch.Tensor]):
    """Clips decoded when they are asked for, cut out as a training reference does."""

    def __init__(self, clips: Folder, decode: Callable[[str], torch.Tensor]) -> None:
        self.files, self.decode = clips.files, decode
        self.transform = v2.Compose([v2.Resize(SHORT_SIDE), v2.RandomCrop(SIZE), v2.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.decode(self.files[index][0]))


def _loader(clips: Folder, decode: Callable[[str], torch.Tensor]) -> Epoch:
    loader = DataLoader(_Files(clips, decode), batch_size=BATCH, shuffle=True)
    return lambda: iter(loader)


def _thwc(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _wanted_frames(clips: Folder) -> tuple[str, Epoch]:
    reader = FramesFromFiles(DecodeSettings(FRAMES, SHORT_SIDE))
    return f"PyAV {av.__version__}, wanted frames scaled by FFmpeg", _loader(clips, lambda f: _thwc(reader.read(f)))


def _every_frame(clips: Folder) -> tuple[str, Epoch]:
    """What `torchvision.io.read_video` did, and the reference scripts with it."""

    def decode(file: str) -> torch.Tensor:
        with av.open(file) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return _thwc(np.stack(frames)[middles(len(frames), FRAMES)])

    return f"PyAV {av.__version__}, every frame to RGB (torchvision's references)", _loader(clips, decode)


def _decord(clips: Folder) -> tuple[str, Epoch]:
    decord = importlib.import_module("decord")

    def decode(file: str) -> torch.Tensor:
        # Its own reader gives a video's size by decoding a frame: asked of the file's header it costs nothing.
        with av.open(file) as container:
            stream = container.streams.video[0]
            width, height, scale = stream.width, stream.height, SHORT_SIDE / min(stream.width, stream.height)
        reader = decord.VideoReader(file, num_threads=1, width=round(width * scale), height=round(height * scale))
        return _thwc(reader.get_batch(middles(len(reader), FRAMES)).asnumpy())

    return f"decord {decord.__version__}", _loader(clips, decode)


def _torchcodec(clips: Folder) -> tuple[str, Epoch]:
    decoders = importlib.import_module("torchcodec.decoders")

    def decode(file: str) -> torch.Tensor:
        reader = decoders.VideoDecoder(file, num_ffmpeg_threads=1)
        frames: torch.Tensor = reader.get_frames_at(middles(len(reader), FRAMES).tolist()).data
        return frames

    return f"torchcodec {importlib.import_module('torchcodec').__version__}", _loader(clips, decode)


def _opencv(clips: Folder) -> tuple[str, Epoch]:
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)

    def decode(file: str) -> torch.Tensor:
        capture = cv2.VideoCapture(file, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        frames = []
        while capture.grab():
            frames.append(capture.retrieve()[1])
        capture.release()
        kept = [cv2.cvtColor(frames[i], cv2.COLOR_BGR2RGB) for i in middles(len(frames), FRAMES)]
        return _thwc(np.stack(kept))

    return f"OpenCV {cv2.__version__}, every frame", _loader(clips, decode)


def _pytorchvideo(clips: Folder) -> tuple[str, Epoch]:
    data = importlib.import_module("pytorchvideo.data")
    # Its own transforms import a module that torchvision no longer has.
    crop = v2.Compose([v2.Resize(SHORT_SIDE), v2.RandomCrop(SIZE), v2.RandomHorizontalFlip()])

    def transform(item: dict[str, Any]) -> torch.Tensor:
        video = item["video"]
        cut: torch.Tensor = crop(video[:, middles(video.shape[1], FRAMES)].permute(1, 0, 2, 3))
        return cut

    def epoch() -> Iterator[Any]:
        dataset = data.LabeledVideoDataset(
            [(file, {"label": label}) for file, label in clips.files],
            clip_sampler=data.make_clip_sampler("random", SECONDS - 0.1),
            video_sampler=torch.utils.data.RandomSampler,
            transform=transform,
            decode_audio=False,
            decoder="pyav",
        )
        return iter(DataLoader(dataset, batch_size=BATCH))

    random.seed(0)
    version = importlib.import_module("importlib.metadata").version("pytorchvideo")
    return f"PyTorchVideo {version}, LabeledVideoDataset (PyAV)", epoch


if __name__ == "__main__":
    main()
