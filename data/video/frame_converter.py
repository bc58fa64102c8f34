"""How a decoded frame becomes a picture: one field, right colours, square pixels, small, upright, uint8 RGB."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import cast

import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, ColorTrc, Interpolation, VideoReformatter

LONGEST_ASPECT = 4
"""A picture's long side is at most this many short sides, so that one panorama can't fill the store."""

_SCALING = Interpolation.AREA | Interpolation.FULL_CHR_H_INT
"""Every pixel of the frame counts (others alias at such factors), and each pixel has a colour of its own."""

_UNTAGGED = 2
"""FFmpeg's number for a colour matrix that the file does not name."""


class Developer:
    """Makes pictures of one stream's frames."""

    def __init__(self, short_side: int, pixel_aspect: Fraction | None) -> None:
        self._short_side = short_side
        self._pixel_aspect = float(pixel_aspect or 1)
        self._reformatter = VideoReformatter()
        self._fields: tuple[tuple[object, ...], Graph, FilterContext, FilterContext] | None = None

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """The frame as uint8 RGB `(H, W, 3)`; what is transparent is black."""
        width, height = self._size(frame)
        has_alpha = _has_alpha(frame.format)
        source = self._one_field(frame) if frame.interlaced_frame else frame
        pixels = self._reformatter.reformat(
            source,
            width=width,
            height=height,
            format="rgba" if has_alpha else "rgb24",
            src_colorspace=_matrix(frame),
            interpolation=_SCALING,
            threads=1,
        ).to_ndarray()
        if has_alpha:
            pixels = (pixels[..., :3].astype(np.uint16) * pixels[..., 3:] // 255).astype(np.uint8)
        if frame.color_trc == ColorTrc.SMPTE2084:
            pixels = _pq_to_sdr()[pixels]
        return np.ascontiguousarray(_turn(pixels, orientation(frame)))

    def _size(self, frame: VideoFrame) -> tuple[int, int]:
        wide = frame.width * self._pixel_aspect
        scale = min(1.0, self._short_side / min(wide, frame.height))
        longest = LONGEST_ASPECT * self._short_side
        return (
            max(1, min(longest, round(wide * scale))),
            max(1, min(longest, round(frame.height * scale))),
        )

    def _one_field(self, frame: VideoFrame) -> VideoFrame:
        """The upper field: the two are of different instants, and both at once is a comb.

        A kept frame is far smaller than the field, so there is nothing that a filter with neighbours in time (yadif,
        bwdif) would bring back.
        """
        shape = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if self._fields is None or self._fields[0] != shape:
            self._fields = (shape, *_field_filter(frame))
        _, _, source, sink = self._fields
        source.push(frame)
        field = sink.pull()
        assert isinstance(field, VideoFrame)
        return field


def _field_filter(frame: VideoFrame) -> tuple[Graph, FilterContext, FilterContext]:
    """Source and sink, and the graph that owns them: without it they dangle."""
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base="1/1",
        pixel_aspect="1/1",
        colorspace=str(int(frame.colorspace)),
        range=str(int(frame.color_range)),
    )
    sink = graph.add("buffersink")
    graph.link_nodes(source, graph.add("field", type="top"), sink).configure()
    return graph, source, sink


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Quarter turns clockwise by which a player turns the frame, and whether it mirrors it (left to right) before."""
    try:
        matrix = np.frombuffer(bytes(cast(SideDataContainer, frame.side_data)[Type.DISPLAYMATRIX]), np.int32)
    except KeyError:
        return 0, False
    except ValueError:  # PyAV does not know every kind of side data that FFmpeg does.
        return round(-frame.rotation / 90) % 4, False
    # A point (x, y) of the frame, y downwards, is shown at (a x + c y, b x + d y).
    a, b, _, c, d = (int(value) for value in matrix[:5])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(math.atan2(b, a) / (math.pi / 2)) % 4, mirrored


def _turn(pixels: np.ndarray, how: tuple[int, bool]) -> np.ndarray:
    turns, mirrored = how
    return np.rot90(pixels[:, ::-1] if mirrored else pixels, k=-turns)


def _has_alpha(pixel_format: VideoFormat) -> bool:
    return pixel_format.name == "pal8" or any(component.is_alpha for component in pixel_format.components)


def _matrix(frame: VideoFrame) -> Colorspace | None:
    """As players do, untagged video of more than standard definition is taken for BT.709, all else as tagged."""
    untagged = frame.colorspace == _UNTAGGED and not frame.format.is_rgb
    return Colorspace.ITU709 if untagged and (frame.width >= 1280 or frame.height > 576) else None


@functools.cache
def _pq_to_sdr() -> np.ndarray:
    """Codes of SMPTE ST 2084 (0 to 10,000 cd/m2) to those of a plain screen, uint8 `(256,)`.

    Reference white of 203 cd/m2 (ITU-R BT.2408) comes out at three quarters of the range; highlights are rolled off
    up to 1,000 cd/m2 by Reinhard's curve (Reinhard et al., Photographic Tone Reproduction for Digital Images, 2002,
    equation 4).
    """
    code = (np.arange(256) / 255) ** (1 / 78.84375)
    light = 10_000 * (np.maximum(code - 0.8359375, 0) / (18.8515625 - 18.6875 * code)) ** (1 / 0.1593017578125)
    relative, brightest = light / 203, 1000 / 203
    mapped = relative * (1 + relative / brightest**2) / (1 + relative)
    return (255 * np.clip(mapped, 0, 1) ** (1 / 2.4) + 0.5).astype(np.uint8)
