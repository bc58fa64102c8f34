"""Decoding and scaling the kept frames of a clip: this project, decord, torchcodec, OpenCV, and FFmpeg decoding alone.

    python -m benchmarks.decoding

Generated 1280x720 H.264 clips, one thread each, 16 and 32 frames with a short side of 128 pixels. A round runs every
decoder once on every clip; the table gives CPU time a clip and, of the rounds, the ratio to this project (median, least
and greatest). CPU time, not wall time: what else runs on the machine then tells on neither side.

The peers are not among the requirements:

    pip install --no-deps decord==0.6.0 torchcodec==0.17.0 opencv-python-headless==5.0.0.93
    apt-get install ffmpeg    # the program, and the libraries that torchcodec loads

What can't be imported or run is named in the table with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from tabulate import tabulate

from benchmarks.spread import ratios, spread
from data.video.decode import DecodeSettings, decode_clip

SHORT_SIDE = 128
HEIGHT, WIDTH = 720, 1280
OURS = "this project"

Decoder = Callable[[Path, int], object]


@dataclass(frozen=True)
class ClipKind:
    """How a generated clip is encoded."""

    name: str
    seconds: int
    options: dict[str, str]


KINDS = (
    ClipKind("2 s, x264 defaults", 2, {}),
    ClipKind("8 s, x264 defaults", 8, {}),
    ClipKind("8 s, no B-frames, a key frame a second (as phones record)", 8, {"bf": "0", "g": "30"}),
)


def main(argv: list[str] | None = None) -> None:
    """Print a Markdown table a number of frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 32], metavar="N", help="default: 16 32")
    args = parser.parse_args(argv)
    decoders, missing = find_decoders()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as folder:
        clips = [(kind.name, _write_clip(Path(folder) / f"{i}.mp4", kind)) for i, kind in enumerate(KINDS)]
        for frames in args.frames:
            print(f"{frames} frames\n\n{_table(decoders, clips, frames, args.rounds)}\n")
    for line in missing:
        print(f"- {line}")


def find_decoders() -> tuple[dict[str, Decoder], list[str]]:
    """Those that run here by name and version, and a line on each that does not."""
    found: dict[str, Decoder] = {f"{OURS} (PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info})": decode_ours}
    missing = []
    makers = {
        "decord": _decord,
        "torchcodec": _torchcodec,
        "cv2": _opencv,
        "ffmpeg": _ffmpeg,
    }
    for name, make in makers.items():
        try:
            label, decoder = make()
        except (ImportError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
            missing.append(f"{name}: {str(error).strip().splitlines()[0]}")
        else:
            found[label] = decoder
    found["libavcodec of this project, every frame, nothing scaled"] = decode_only
    return found, missing


def decode_ours(file: Path, frames: int) -> np.ndarray:
    """As the frame store is built."""
    return decode_clip(file, DecodeSettings(frames, SHORT_SIDE)).frames


def decode_only(file: Path, frames: int) -> int:
    """Every frame decoded and thrown away."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def _decord() -> tuple[str, Decoder]:
    decord = importlib.import_module("decord")

    def decode(file: Path, frames: int) -> object:
        reader = decord.VideoReader(str(file), num_threads=1, width=_scaled_width(), height=SHORT_SIDE)
        return reader.get_batch(middles(len(reader), frames)).asnumpy()

    return f"decord {decord.__version__}", decode


def _torchcodec() -> tuple[str, Decoder]:
    torch = importlib.import_module("torch")
    decoders = importlib.import_module("torchcodec.decoders")
    transforms = importlib.import_module("torchcodec.transforms")
    torch.set_num_threads(1)

    def decode(file: Path, frames: int) -> object:
        reader = decoders.VideoDecoder(
            str(file), num_ffmpeg_threads=1, transforms=[transforms.Resize((SHORT_SIDE, _scaled_width()))]
        )
        return reader.get_frames_at(middles(len(reader), frames).tolist()).data

    return f"torchcodec {importlib.import_module('torchcodec').__version__}", decode


def _opencv() -> tuple[str, Decoder]:
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)

    def decode(file: Path, frames: int) -> object:
        capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        wanted, kept = set(middles(count, frames).tolist()), []
        for number in range(count):
            if not capture.grab():
                break
            if number in wanted:
                small = cv2.resize(capture.retrieve()[1], (_scaled_width(), SHORT_SIDE), interpolation=cv2.INTER_AREA)
                kept.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
        return np.stack(kept)

    return f"OpenCV {cv2.__version__}", decode


def _ffmpeg() -> tuple[str, Decoder]:
    version = subprocess.run(["ffmpeg", "-version"], check=True, capture_output=True, text=True).stdout.split()[2]

    def decode(file: Path, frames: int) -> object:
        command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(file), "-an", "-f", "null", "-"]
        return subprocess.run(command, check=True)

    return f"`ffmpeg -f null -` {version}, every frame, nothing scaled", decode


def _scaled_width() -> int:
    return round(WIDTH * SHORT_SIDE / HEIGHT)


def middles(count: int, frames: int) -> np.ndarray:
    """Indices of so many of `count` frames: the middles of equal parts."""
    return ((np.arange(frames) + 0.5) / frames * count).astype(int)


def _table(decoders: dict[str, Decoder], clips: list[tuple[str, Path]], frames: int, rounds: int) -> str:
    rows = []
    for kind, clip in clips:
        seconds = _measure(decoders, clip, frames, rounds)
        ours = next(times for name, times in seconds.items() if name.startswith(OURS))
        for name, times in seconds.items():
            rows.append([kind, name, f"{1000 * statistics.median(times):.0f}", spread(ratios(times, ours))])
    header = ["clip", "decoder", "CPU ms a clip", "times this project's (range)"]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def _measure(decoders: dict[str, Decoder], clip: Path, frames: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each decoder, a value a round; the first round, which loads libraries, is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    for number in range(rounds + 1):
        for name, decode in decoders.items():
            before = _cpu_seconds()
            decode(clip, frames)
            if number:
                seconds[name].append(_cpu_seconds() - before)
    return seconds


def _cpu_seconds() -> float:
    """Of this process, all its threads, and the programs it ran."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


def _write_clip(file: Path, kind: ClipKind) -> Path:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=kind.options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in _pictures(30 * kind.seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file


def _pictures(count: int) -> Iterator[np.ndarray]:
    """A hand-held camera over a mottled wall, a block that moves to and fro, and sensor noise."""
    rng = np.random.default_rng(0)
    mottles = rng.integers(40, 200, (HEIGHT // 16 + 10, WIDTH // 16 + 10, 3), dtype=np.uint8)
    wall = av.VideoFrame.from_ndarray(mottles, format="rgb24")
    wall_pixels = wall.reformat(width=WIDTH + 160, height=HEIGHT + 160, interpolation="BICUBIC").to_ndarray()
    noise = [rng.integers(0, 6, (HEIGHT, WIDTH, 1), dtype=np.uint8) for _ in range(5)]
    for number in range(count):
        x, y = int(80 + 60 * np.sin(number / 25)), int(40 + 30 * np.cos(number / 31))
        picture = wall_pixels[y : y + HEIGHT, x : x + WIDTH] + noise[number % 5]
        left = int(500 + 300 * np.sin(number / 12))
        picture[200:500, left : left + 150] = (220, 40, 60)
        yield picture


if __name__ == "__main__":
    main()
