"""Clips of 720p for benchmarks: the generated demo clips, shown large and a few seconds long, with a camera's noise."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from data.demo import DemoClip, plan_demo, write_demo

SHORT_SIDE = 720
CLASSES = 6


@dataclass(frozen=True)
class Kind:
    """What the clips are like."""

    seconds: float
    """At least: a demo clip is shown forth and back until it is over."""
    fps: int = 30
    short_side: int = SHORT_SIDE


def write_large_clips(out: Path, clips: int, kind: Kind) -> None:
    """At least so many clips as `out/CLASS/FILE`, with `out/sources.csv`; what is there from before is kept.

    Args:
        out: the folder.
        clips: their number; a little more come, since a source has several.
        kind: what they are like.
    """
    if (out / "sources.csv").exists():
        return
    largest = next(n for n in range(3, 100_000) if len(plan_demo(CLASSES, n, seed=0)) >= clips)
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(folder, "demo")
        plan = write_demo(demo, classes=CLASSES, clips_per_class=largest)
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            enlarged = pool.map(partial(_enlarge, demo, out, kind), plan)
            for _ in tqdm(enlarged, total=len(plan), desc=f"clips of {kind.short_side}p", unit="clip"):
                pass
        # Last: it says that all is there.
        shutil.copy(demo / "sources.csv", out / "sources.csv")


def _enlarge(demo: Path, out: Path, kind: Kind, clip: DemoClip) -> None:
    target = out / clip.path
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}")
    with av.open(str(demo / clip.path)) as source, av.open(str(aside), "w", format="matroska") as output:
        pictures = list(source.decode(video=0))
        width, height = _size(pictures[0].width, pictures[0].height, kind.short_side)
        stream = output.add_stream("libx264", rate=Fraction(kind.fps), options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        rng = np.random.default_rng(len(clip.path))
        noise = [rng.integers(0, 6, (height, width, 1), dtype=np.uint8) for _ in range(5)]
        for number, picture in enumerate(_forth_and_back(pictures, round(kind.seconds * kind.fps))):
            large = picture.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
            noisy = np.minimum(large, 249) + noise[number % len(noise)]
            output.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        output.mux(stream.encode(None))
    aside.rename(target)


def _size(width: int, height: int, short_side: int) -> tuple[int, int]:
    scale = short_side / min(width, height)
    return 2 * round(width * scale / 2), 2 * round(height * scale / 2)


def _forth_and_back(pictures: list[av.VideoFrame], count: int) -> Iterator[av.VideoFrame]:
    cycle = pictures + pictures[-2:0:-1]
    for number in range(count):
        yield cycle[number % len(cycle)]
