"""Clips as large and long as those of a phone: the demo clips, enlarged, repeated and with sensor noise."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from benchmarks.helpers.videos import encode_video, sensor_noise
from data.demo import DemoClip, plan_demo, write_demo

CLASSES = 6


@dataclass(frozen=True)
class LargeClipFormat:
    """Length, frame rate and size of the clips."""

    seconds: float
    """A demo clip is played forwards and backwards until this time is over."""
    fps: int = 30
    short_side: int = 720


def write_large_clips(out: Path, count: int, clip_format: LargeClipFormat) -> None:
    """Write clips as `out/CLASS/FILE`, and their groups as `out/sources.csv`; does nothing if that file exists.

    Args:
        out: the folder.
        count: fewest clips; there are a few more, because a group has several.
        clip_format: length, frame rate and size.
    """
    if (out / "sources.csv").exists():
        return
    largest_class = next(n for n in range(3, 100_000) if len(plan_demo(CLASSES, n, seed=0)) >= count)
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(folder, "demo")
        plan = write_demo(demo, classes=CLASSES, clips_per_class=largest_class)
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            written = pool.map(partial(_enlarge, demo, out, clip_format), plan)
            for _ in tqdm(written, total=len(plan), desc=f"clips of {clip_format.short_side}p", unit="clip"):
                pass
        # Copied last: it shows that the folder is complete.
        shutil.copy(demo / "sources.csv", out / "sources.csv")


def _enlarge(demo: Path, out: Path, clip_format: LargeClipFormat, clip: DemoClip) -> None:
    target = out / clip.path
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}")
    with av.open(str(demo / clip.path)) as source:
        pictures = list(source.decode(video=0))
    rng = np.random.default_rng(len(clip.path))
    encode_video(
        temporary,
        _enlarged_frames(pictures, clip_format, rng),
        fps=clip_format.fps,
        options={"crf": "23", "preset": "veryfast"},
        container="matroska",
        threads=1,
    )
    temporary.rename(target)


def _enlarged_frames(
    pictures: Sequence[av.VideoFrame], clip_format: LargeClipFormat, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    width, height = _scaled_size(pictures[0].width, pictures[0].height, clip_format.short_side)
    noise = sensor_noise(rng, height, width)
    forwards_and_backwards = cycle([*pictures, *pictures[-2:0:-1]])
    for picture in islice(forwards_and_backwards, round(clip_format.seconds * clip_format.fps)):
        large = picture.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
        # Below 250, so that the noise can't overflow.
        yield np.minimum(large, 249) + next(noise)


def _scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return width and height, rounded to even numbers as H.264 requires."""
    scale = short_side / min(width, height)
    return 2 * round(width * scale / 2), 2 * round(height * scale / 2)
