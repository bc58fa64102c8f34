"""Load an epoch of clips: this project, PyTorchVideo, decord, PyAV and others.

    python -m benchmarks.loaders

Generated clips of 720p and two seconds, 16 frames of each at 112x112, shuffled, randomly cropped and flipped, batches
of 8, all in one process on one thread. Each round loads one epoch with every loader. The table shows CPU time per clip
and its ratios to this project's (median, smallest and largest over the rounds). `first epoch` decodes all clips into an
empty frame store and then reads it; `mean of 10 epochs` is that one and nine epochs from the store.

The other loaders are not in the requirements; those that can't be imported or run are listed with the reason:

    pip install --no-deps pytorchvideo==0.1.5 fvcore iopath parameterized portalocker yacs termcolor decord==0.6.0 \\
        torchcodec==0.17.0 opencv-python-headless==5.0.0.93
    apt-get install ffmpeg    # the libraries that torchcodec loads
"""

from __future__ import annotations

import importlib
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.decoding_trial import DecodingStore
from benchmarks.helpers.large_clips import LargeClipFormat, write_large_clips
from benchmarks.helpers.peers import find_peers
from benchmarks.helpers.store_epochs import FRAMES, SIZE, Epoch, store_epochs
from benchmarks.helpers.tables import markdown_table, ratios, spread
from data.clip import Clip
from data.dataset.clips import scan_clips
from data.loading.frame_selection import FrameSelection
from data.store.entry_folder import EntryFolder
from data.store.frame_store import FrameStore
from data.store.store_clip import PendingClip, store_clip
from data.video.decode import DecodeSettings

SHORT_SIDE, BATCH = 128, 8
SECONDS = 2.0
DECODE = DecodeSettings(FRAMES, SHORT_SIDE)
FROM_STORE, FIRST_EPOCH = "this project, from the store", "this project, first epoch"


@dataclass(frozen=True)
class ClipFolder:
    """The clips to load."""

    root: Path
    clips: tuple[Clip, ...]

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return sorted({clip.label for clip in self.clips})

    @property
    def files(self) -> list[tuple[str, int]]:
        """File and class index of each clip."""
        classes = self.classes
        return [(str(self.root / clip.path), classes.index(clip.label)) for clip in self.clips]


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per loader."""
    parser = argument_parser(__doc__)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "clips")
        write_large_clips(root, args.clips, LargeClipFormat(SECONDS))
        clips = ClipFolder(root, scan_clips(root).clips)
        loaders, missing = find_loaders(clips, Path(folder))
        found = _measure(loaders, len(clips.clips), args.rounds)
    print(f"{len(clips.clips)} clips, {args.rounds} rounds, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
    print(_table(found))
    for line in missing:
        print(f"- {line}")


def find_loaders(clips: ClipFolder, stores: Path) -> tuple[dict[str, Epoch], list[str]]:
    """Return the loaders that run here, by name and version, and one line for each that does not.

    Args:
        clips: the clips to load.
        stores: folder for this project's frame stores.
    """
    makers: dict[str, Callable[[ClipFolder], tuple[str, Epoch]]] = {
        "this project": lambda clips: (FROM_STORE, _from_store(clips, stores / "store")),
        "first epoch": lambda clips: (FIRST_EPOCH, _first_epoch(clips, stores / "first_epoch")),
        "PyAV, selected frames": _selected_frames,
        "PyAV, every frame": _every_frame,
        "decord": _decord,
        "torchcodec": _torchcodec,
        "OpenCV": _opencv,
        "PyTorchVideo": _pytorchvideo,
    }

    return find_peers({name: partial(_load_once, make, clips) for name, make in makers.items()})


def _load_once(make: Callable[[ClipFolder], tuple[str, Epoch]], clips: ClipFolder) -> tuple[str, Epoch]:
    """Make a loader and load one batch, so that a loader that can't run fails here."""
    name, epoch = make(clips)
    next(iter(epoch()))
    return name, epoch


def _measure(loaders: dict[str, Epoch], clips: int, rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds per clip of each loader, one value per round."""
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, epoch in loaders.items():
            started, loaded = time.process_time(), 0
            for frames in epoch():
                assert frames.shape[1:] in ((FRAMES, 3, SIZE, SIZE), (3, FRAMES, SIZE, SIZE)), frames.shape
                loaded += len(frames)
            seconds[name].append((time.process_time() - started) / loaded)
            assert loaded == clips, (name, loaded)
    return seconds


def _table(seconds: dict[str, list[float]]) -> str:
    ours, first_epochs = seconds[FROM_STORE], seconds[FIRST_EPOCH]
    ten_epochs = [(first + 9 * later) / 10 for first, later in zip(first_epochs, ours, strict=True)]
    rows = [
        [
            name,
            f"{1000 * statistics.median(times):.3g} ms",
            spread(ratios(times, ours), ".3g"),
            spread(ratios(times, ten_epochs), ".3g"),
        ]
        for name, times in {**seconds, "this project, mean of 10 epochs": ten_epochs}.items()
    ]
    return markdown_table(rows, ["loader", "CPU time per clip", "/ from the store", "/ mean of 10 epochs"])


def _from_store(clips: ClipFolder, root: Path) -> Epoch:
    store = FrameStore(root, DECODE)
    build = store.build(clips.root, [clip.path for clip in clips.clips], workers=1, progress=False)
    return store_epochs(build.labelled(clips.clips, clips.classes), store, BATCH)


def _first_epoch(clips: ClipFolder, root: Path) -> Epoch:
    """Return a function that decodes into an empty store and then loads from it.

    It decodes in this process, whose CPU time is measured; a builder would start others.
    """

    def epoch() -> Iterator[Any]:
        shutil.rmtree(root, ignore_errors=True)
        backend = EntryFolder(FrameStore(root, DECODE).folder)
        for number, clip in enumerate(clips.clips):
            pending = PendingClip(number, clip.path, clips.root / clip.path)
            store_clip(pending, backend=backend, settings=DECODE, verify=False)
        yield from _from_store(clips, root)()

    return epoch


class DecodedClips(Dataset[torch.Tensor]):
    """Clips that are decoded at every access, with the crops and flips of torchvision's reference scripts."""

    def __init__(self, clips: ClipFolder, decode: Callable[[str], torch.Tensor]) -> None:
        self.files, self.decode = clips.files, decode
        self.transform = _crop_and_flip()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.decode(self.files[index][0]))


def _crop_and_flip() -> v2.Compose:
    return v2.Compose([v2.Resize(SHORT_SIDE), v2.RandomCrop(SIZE), v2.RandomHorizontalFlip()])


def _decoding_loader(clips: ClipFolder, decode: Callable[[str], torch.Tensor]) -> Epoch:
    """Return epochs of clips that `decode` turns from a file into uint8 `(T, 3, H, W)`."""
    loader = DataLoader(DecodedClips(clips, decode), batch_size=BATCH, shuffle=True)
    return lambda: iter(loader)


def _to_tchw(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _indices(count: int) -> np.ndarray:
    """Return the indices of equally spaced frames, int64 `(FRAMES,)`, each in `[0, count)`."""
    return FrameSelection(FRAMES).eval_indices(count)


def _selected_frames(clips: ClipFolder) -> tuple[str, Epoch]:
    store = DecodingStore(DECODE)
    name = f"PyAV {av.__version__}, only the needed frames, scaled by FFmpeg"
    return name, _decoding_loader(clips, lambda file: _to_tchw(store.read(file)))


def _every_frame(clips: ClipFolder) -> tuple[str, Epoch]:
    """Return a loader that decodes like `torchvision.io.read_video` did, and with it torchvision's references."""

    def decode(file: str) -> torch.Tensor:
        with av.open(file) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return _to_tchw(np.stack(frames)[_indices(len(frames))])

    name = f"PyAV {av.__version__}, every frame to RGB (torchvision's references)"
    return name, _decoding_loader(clips, decode)


def _decord(clips: ClipFolder) -> tuple[str, Epoch]:
    decord = importlib.import_module("decord")

    def decode(file: str) -> torch.Tensor:
        # decord would decode a frame to find the video's size; the file's header has it.
        with av.open(file) as container:
            stream = container.streams.video[0]
            width, height, scale = stream.width, stream.height, SHORT_SIDE / min(stream.width, stream.height)
        reader = decord.VideoReader(file, num_threads=1, width=round(width * scale), height=round(height * scale))
        return _to_tchw(reader.get_batch(_indices(len(reader))).asnumpy())

    return f"decord {decord.__version__}", _decoding_loader(clips, decode)


def _torchcodec(clips: ClipFolder) -> tuple[str, Epoch]:
    decoders = importlib.import_module("torchcodec.decoders")

    def decode(file: str) -> torch.Tensor:
        reader = decoders.VideoDecoder(file, num_ffmpeg_threads=1)
        frames: torch.Tensor = reader.get_frames_at(_indices(len(reader)).tolist()).data
        return frames

    return f"torchcodec {importlib.import_module('torchcodec').__version__}", _decoding_loader(clips, decode)


def _opencv(clips: ClipFolder) -> tuple[str, Epoch]:
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)

    def decode(file: str) -> torch.Tensor:
        capture = cv2.VideoCapture(file, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        frames = []
        while capture.grab():
            frames.append(capture.retrieve()[1])
        capture.release()
        selected = [cv2.cvtColor(frames[i], cv2.COLOR_BGR2RGB) for i in _indices(len(frames))]
        return _to_tchw(np.stack(selected))

    return f"OpenCV {cv2.__version__}, every frame", _decoding_loader(clips, decode)


def _pytorchvideo(clips: ClipFolder) -> tuple[str, Epoch]:
    data = importlib.import_module("pytorchvideo.data")
    # Not PyTorchVideo's own transforms: they import a module that torchvision no longer has.
    crop_and_flip = _crop_and_flip()

    def transform(item: dict[str, Any]) -> torch.Tensor:
        video = item["video"]
        frames: torch.Tensor = crop_and_flip(video[:, _indices(video.shape[1])].permute(1, 0, 2, 3))
        return frames

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
    return f"PyTorchVideo {version('pytorchvideo')}, LabeledVideoDataset (PyAV)", epoch


if __name__ == "__main__":
    main()
