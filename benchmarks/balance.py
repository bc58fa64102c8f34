"""Whether a report's sentence on balancing is right where the truth is known: two sweeps over generated clips.

    python -m benchmarks.balance

A square of a shade of grey wanders over a dark wall; the shade's neighbourhood is the class. In `uneven` one class has
240 clips and three have 16: within the few epochs of `benchmarks/balance.yaml` a model that sees each clip equally
often hardly learns the rare ones, and one that sees each class equally often does. In `even` each class has 60 clips:
both samplers draw alike, and there is nothing to tell.
"""

from __future__ import annotations

import argparse
import html
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

CONFIG = Path(__file__).with_suffix(".yaml")
SHADES = {"dip": 110, "plank": 150, "press": 185, "squat": 220}
COUNTS = {"uneven": {"dip": 240, "plank": 16, "press": 16, "squat": 16}, "even": dict.fromkeys(SHADES, 60)}
_SPREAD = 8.0
"""Standard deviation of a class's shades."""


def main(argv: Sequence[str] | None = None) -> None:
    """Sweep over both folders and print each report's sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder for the clips and runs; default: a temporary one")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        place = (args.keep or Path(folder)).resolve()
        for name, counts in COUNTS.items():
            _write_clips(place / name, counts)
            print(f"{name}: {_said(place, name)}", flush=True)


def _said(place: Path, name: str) -> str:
    settings = [f"runs_dir={place / 'runs'}", f"store.dir={place / 'frame_store'}"]
    files = ["--config", str(CONFIG), "--data", str(place / name), "--name", name]
    done = subprocess.run(
        [sys.executable, "-m", "tuning", "sweep", *files, *settings], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the sweep over {name} failed:\n{done.stderr[-3000:]}")
    page = (place / "runs" / name / "report/index.html").read_text()
    found = re.search(r"<b>Imbalanced or balanced\?</b>(.*?)</li>", page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1].strip())


def _write_clips(folder: Path, counts: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            shade = int(np.clip(rng.normal(SHADES[label], _SPREAD), 70, 250))
            _write_clip(folder / label / f"{number:03}.mp4", shade, rng)


def _write_clip(file: Path, shade: int, rng: np.random.Generator) -> None:
    wall = rng.integers(0, 60, (12, 16, 1), np.uint8).repeat(3, 2).repeat(4, 0).repeat(4, 1)
    top, left = rng.integers(0, 28), rng.integers(0, 44)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = wall.shape[:2]
        stream.pix_fmt = "yuv420p"
        for step in range(12):
            picture = wall.copy()
            x = (left + 3 * step) % 44
            picture[top : top + 20, x : x + 20] = shade
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
