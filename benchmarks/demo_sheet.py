"""A picture of the demo clips: a row a class, eight frames a clip in order of time.

python -m benchmarks.demo_sheet --data demo_clips --out docs/demo_clips.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from data.dataset.clips import scan_clips
from data.video.decode import DecodeSettings, decode_clip


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="generated clips")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="where to write the picture")
    args = parser.parse_args()
    first = {clip.label: clip.path for clip in reversed(scan_clips(args.data).clips)}
    figure = Figure(figsize=(12, 1.45 * len(first)), dpi=110, layout="constrained")
    for row, label in zip(figure.subplots(len(first), 8), sorted(first), strict=True):
        frames = decode_clip(args.data / first[label], DecodeSettings(frames=8, short_side=120)).frames
        for axes, frame in zip(row, frames, strict=True):
            axes.imshow(frame)
            axes.set_axis_off()
        row[0].set_title(label, fontsize=10, loc="left")
    figure.savefig(args.out)


if __name__ == "__main__":
    main()
