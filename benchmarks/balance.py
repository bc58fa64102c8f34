"""Check the report's sentence on samplers where the truth is known: one sweep over uneven classes, one over even ones.

    python -m benchmarks.balance

The clips show a square that moves in front of a dark wall; the shade of the square decides the class. In `uneven` one
class has 240 clips and three have 16: in the few epochs of `benchmarks/balance.yaml` a model that is trained on every
clip equally often hardly learns the rare classes, and one that is trained on every class equally often does. In `even`
each class has 60 clips: both samplers draw the same, and the report should find no difference.
"""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.helpers.command_line import argument_parser, run_python
from benchmarks.helpers.videos import encode_video

CONFIG = Path(__file__).with_suffix(".yaml")
SHADES = {"dip": 110, "plank": 150, "press": 185, "squat": 220}
"""Mean grey value of each class's squares."""
CLIP_COUNTS = {"uneven": {"dip": 240, "plank": 16, "press": 16, "squat": 16}, "even": dict.fromkeys(SHADES, 60)}
_SHADE_DEVIATION = 8.0
"""Standard deviation of the grey values of a class."""
_FRAMES, _HEIGHT, _WIDTH, _SIDE = 12, 48, 64, 20


def main(argv: Sequence[str] | None = None) -> None:
    """Run both sweeps and print the sentence of each report."""
    parser = argument_parser(__doc__)
    parser.add_argument("--keep", type=Path, help="folder for the clips and runs; default: a temporary one")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.keep or Path(temporary)).resolve()
        for name, counts in CLIP_COUNTS.items():
            _write_clips(folder / name, counts)
            print(f"{name}: {_run_sweep(folder, name)}", flush=True)


def _run_sweep(folder: Path, name: str) -> str:
    """Run a sweep over the clips in `folder/name` and return its report's sentence on samplers."""
    settings = [f"runs_dir={folder / 'runs'}", f"store.dir={folder / 'frame_store'}"]
    files = ["--config", str(CONFIG), "--data", str(folder / name), "--name", name]
    run_python(["-m", "tuning", "sweep", *files, *settings], f"the sweep over {name}")
    page = (folder / "runs" / name / "report/index.html").read_text()
    sentence = re.search(r"<b>Imbalanced or balanced\?</b>(.*?)</li>", page, re.DOTALL)
    assert sentence is not None
    return html.unescape(sentence[1].strip())


def _write_clips(folder: Path, counts: Mapping[str, int]) -> None:
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            shade = int(np.clip(rng.normal(SHADES[name], _SHADE_DEVIATION), 70, 250))
            encode_video(folder / name / f"{number:03}.mp4", _frames(shade, rng), fps=10)


def _frames(shade: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield frames of a square that moves to the right in front of a wall with a random pattern."""
    pattern = rng.integers(0, 60, (_HEIGHT // 4, _WIDTH // 4, 1), np.uint8).repeat(3, 2)
    wall = pattern.repeat(4, 0).repeat(4, 1)
    top, left = rng.integers(0, _HEIGHT - _SIDE), rng.integers(0, _WIDTH - _SIDE)
    for step in range(_FRAMES):
        frame = wall.copy()
        x = (left + 3 * step) % (_WIDTH - _SIDE)
        frame[top : top + _SIDE, x : x + _SIDE] = shade
        yield frame


if __name__ == "__main__":
    main()
