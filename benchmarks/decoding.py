"""Decoding and scaling frames of a clip: this project, decord, torchcodec, OpenCV, and FFmpeg decoding alone.

    python -m benchmarks.decoding

Generated 1280x720 H.264 clips, one thread, 16 and 32 frames with a short side of 128 pixels. Each round runs every
decoder once on every clip. The table shows CPU time per clip and the ratio to this project (median, smallest and
largest over the rounds). It is CPU time rather than wall time, so that other work on the machine distorts it less.

The other decoders are not in the requirements:

    pip install --no-deps decord==0.6.0 torchcodec==0.17.0 opencv-python-headless==5.0.0.93
    apt-get install ffmpeg    # the program, and the libraries that torchcodec loads

Those that can't be imported or run are listed below the table with the reason.
"""

from __future__ import annotations

import importlib
import os
import platform
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.peers import find_peers
from benchmarks.helpers.tables import markdown_table, ratios, spread
from benchmarks.helpers.videos import encode_video, resized, sensor_noise
from data.loading.frame_selection import FrameSelection
from data.video.decode import DecodeSettings, decode_clip

SHORT_SIDE = 128
HEIGHT, WIDTH = 720, 1280
FPS = 30
OURS = "this project"

Decoder = Callable[[Path, int], object]
"""Decodes this many equally spaced frames of a file."""


@dataclass(frozen=True)
class Encoding:
    """How a generated clip is encoded."""

    name: str
    seconds: int
    options: dict[str, str]
    """Of x264."""


ENCODINGS = (
    Encoding("2 s, x264 defaults", 2, {}),
    Encoding("8 s, x264 defaults", 8, {}),
    Encoding("8 s, no B-frames, one key frame per second (as phones record)", 8, {"bf": "0", "g": "30"}),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Print one Markdown table per number of frames."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 32], metavar="N", help="default: 16 32")
    args = parser.parse_args(argv)
    decoders, missing = find_decoders()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for number, encoding in enumerate(ENCODINGS):
            file = Path(folder) / f"{number}.mp4"
            encode_video(file, _frames(FPS * encoding.seconds), fps=FPS, options=encoding.options)
            clips.append((encoding.name, file))
        for frames in args.frames:
            print(f"{frames} frames\n\n{_table(decoders, clips, frames, args.rounds)}\n")
    for line in missing:
        print(f"- {line}")


def find_decoders() -> tuple[dict[str, Decoder], list[str]]:
    """Return the decoders that run here, by name and version, and one line for each that does not."""
    makers = {"decord": _decord, "torchcodec": _torchcodec, "cv2": _opencv, "ffmpeg": _ffmpeg}
    peers, missing = find_peers(makers)
    ours = f"{OURS} (PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info})"
    alone = "libavcodec of this project, every frame, nothing scaled"
    return {ours: _decode_as_the_store_does, **peers, alone: _decode_only}, missing


def _decode_as_the_store_does(file: Path, frames: int) -> np.ndarray:
    return decode_clip(file, DecodeSettings(frames, SHORT_SIDE)).frames


def _decode_only(file: Path, frames: int) -> int:
    """Decode every frame and keep none."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def _decord() -> tuple[str, Decoder]:
    decord = importlib.import_module("decord")

    def decode(file: Path, frames: int) -> object:
        reader = decord.VideoReader(str(file), num_threads=1, width=_scaled_width(), height=SHORT_SIDE)
        return reader.get_batch(_indices(len(reader), frames)).asnumpy()

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
        return reader.get_frames_at(_indices(len(reader), frames).tolist()).data

    return f"torchcodec {importlib.import_module('torchcodec').__version__}", decode


def _opencv() -> tuple[str, Decoder]:
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)

    def decode(file: Path, frames: int) -> object:
        capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        selected, decoded = set(_indices(count, frames).tolist()), []
        for number in range(count):
            if not capture.grab():
                break
            if number in selected:
                small = cv2.resize(capture.retrieve()[1], (_scaled_width(), SHORT_SIDE), interpolation=cv2.INTER_AREA)
                decoded.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
        return np.stack(decoded)

    return f"OpenCV {cv2.__version__}", decode


def _ffmpeg() -> tuple[str, Decoder]:
    version = subprocess.run(["ffmpeg", "-version"], check=True, capture_output=True, text=True).stdout.split()[2]

    def decode(file: Path, frames: int) -> object:
        command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(file), "-an", "-f", "null", "-"]
        return subprocess.run(command, check=True)

    return f"`ffmpeg -f null -` {version}, every frame, nothing scaled", decode


def _scaled_width() -> int:
    return round(WIDTH * SHORT_SIDE / HEIGHT)


def _indices(count: int, frames: int) -> np.ndarray:
    """Return the indices of equally spaced frames, int64 `(frames,)`, each in `[0, count)`."""
    return FrameSelection(frames).eval_indices(count)


def _table(decoders: dict[str, Decoder], clips: list[tuple[str, Path]], frames: int, rounds: int) -> str:
    rows = []
    for encoding, clip in clips:
        seconds = _measure(decoders, clip, frames, rounds)
        ours = next(times for name, times in seconds.items() if name.startswith(OURS))
        for name, times in seconds.items():
            rows.append([encoding, name, f"{1000 * statistics.median(times):.0f}", spread(ratios(times, ours))])
    return markdown_table(rows, ["clip", "decoder", "CPU ms per clip", "/ this project (range)"])


def _measure(decoders: dict[str, Decoder], clip: Path, frames: int, rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each decoder, one value per round; a round before them loads libraries."""
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    for number in range(rounds + 1):
        for name, decode in decoders.items():
            before = _cpu_seconds()
            decode(clip, frames)
            if number:
                seconds[name].append(_cpu_seconds() - before)
    return seconds


def _cpu_seconds() -> float:
    """Return the CPU seconds of all threads of this process and of the programs that it has run."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


def _frames(count: int) -> Iterator[np.ndarray]:
    """Yield frames of a hand-held camera: a textured wall, a block that moves left and right, and sensor noise."""
    rng = np.random.default_rng(0)
    texture = rng.integers(40, 200, (HEIGHT // 16 + 10, WIDTH // 16 + 10, 3), dtype=np.uint8)
    wall = resized(texture, WIDTH + 160, HEIGHT + 160)
    noise = sensor_noise(rng, HEIGHT, WIDTH)
    for number in range(count):
        x, y = int(80 + 60 * np.sin(number / 25)), int(40 + 30 * np.cos(number / 31))
        frame = wall[y : y + HEIGHT, x : x + WIDTH] + next(noise)
        left = int(500 + 300 * np.sin(number / 12))
        frame[200:500, left : left + 150] = (220, 40, 60)
        yield frame


if __name__ == "__main__":
    main()
