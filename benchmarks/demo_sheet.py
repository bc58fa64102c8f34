"""Draw the demo clips: one row per class, eight frames of one clip in order of time.

python -m benchmarks.demo_sheet --data demo_clips --out docs/demo_clips.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.helpers.command_line import argument_parser
from data.dataset.clips import scan_clips
from data.video.decode import DecodeSettings, decode_clip


def main(argv: Sequence[str] | None = None) -> None:
    """Write the picture."""
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of clips")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="picture to write")
    args = parser.parse_args(argv)
    first_clips = {clip.label: clip.path for clip in reversed(scan_clips(args.data).clips)}
    figure = Figure(figsize=(12, 1.45 * len(first_clips)), dpi=110, layout="constrained")
    for row, name in zip(figure.subplots(len(first_clips), 8), sorted(first_clips), strict=True):
        frames = decode_clip(args.data / first_clips[name], DecodeSettings(frames=8, short_side=120)).frames
        for axes, frame in zip(row, frames, strict=True):
            axes.imshow(frame)
            axes.set_axis_off()
        row[0].set_title(name, fontsize=10, loc="left")
    figure.savefig(args.out)


if __name__ == "__main__":
    main()
