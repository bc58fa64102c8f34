"""Convert decoded frames to small, upright RGB arrays: deinterlace, scale, tone-map, rotate."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import cast

import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, ColorTrc, Interpolation, VideoReformatter

MAX_ASPECT_RATIO = 4
"""The long side is at most this multiple of the short side, so that a panorama can't fill the store."""

_SCALING = Interpolation.AREA | Interpolation.FULL_CHR_H_INT
"""Area averaging, since other filters alias when scaling down this much; chroma at full horizontal resolution."""

_UNSPECIFIED = 2
"""FFmpeg's number for a colour matrix that the file does not specify."""


def stored_size(width: int, height: int, short_side: int, pixel_aspect: Fraction | None = None) -> tuple[int, int]:
    """Return width and height in square pixels of a frame as it is stored, before rotation.

    Args:
        width: of the video in pixels.
        height: of the video in pixels.
        short_side: maximum short side of the result; smaller frames are not enlarged.
        pixel_aspect: width of a pixel divided by its height; None for square pixels.
    """
    wide = width * float(pixel_aspect or 1)
    scale = min(1.0, short_side / min(wide, height))
    longest = MAX_ASPECT_RATIO * short_side
    return (
        max(1, min(longest, round(wide * scale))),
        max(1, min(longest, round(height * scale))),
    )


class FrameConverter:
    """Converts the frames of one video stream to RGB."""

    def __init__(self, short_side: int, pixel_aspect: Fraction | None) -> None:
        """Create a converter.

        Args:
            short_side: maximum short side of the result in pixels; smaller frames are not enlarged.
            pixel_aspect: width of a pixel divided by its height; None for square pixels.
        """
        self._short_side = short_side
        self._pixel_aspect = pixel_aspect
        self._reformatter = VideoReformatter()
        self._field_filter: tuple[tuple[object, ...], Graph, FilterContext, FilterContext] | None = None

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Return the frame as uint8 RGB `(H, W, 3)`, upright, with transparent areas black."""
        width, height = stored_size(frame.width, frame.height, self._short_side, self._pixel_aspect)
        has_alpha = _has_alpha(frame.format)
        source = self._upper_field(frame) if frame.interlaced_frame else frame
        pixels = self._reformatter.reformat(
            source,
            width=width,
            height=height,
            format="rgba" if has_alpha else "rgb24",
            src_colorspace=_colour_matrix(frame),
            interpolation=_SCALING,
            threads=1,
        ).to_ndarray()
        if has_alpha:
            pixels = (pixels[..., :3].astype(np.uint16) * pixels[..., 3:] // 255).astype(np.uint8)
        if frame.color_trc == ColorTrc.SMPTE2084:
            pixels = _pq_to_sdr()[pixels]
        return np.ascontiguousarray(_turn_upright(pixels, *orientation(frame)))

    def _upper_field(self, frame: VideoFrame) -> VideoFrame:
        """Return the upper field: the two fields are of different instants, and together they show a comb.

        The result is scaled to less than a field's height, so that a deinterlacer with temporal neighbours (yadif,
        bwdif) would restore nothing visible.
        """
        shape = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if self._field_filter is None or self._field_filter[0] != shape:
            self._field_filter = (shape, *_build_field_filter(frame))
        _, _, source, sink = self._field_filter
        source.push(frame)
        field = sink.pull()
        assert isinstance(field, VideoFrame)
        return field


def _build_field_filter(frame: VideoFrame) -> tuple[Graph, FilterContext, FilterContext]:
    """Return the filter graph, its source and its sink; the caller must keep the graph, which owns the other two."""
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
    """Return how a player displays the frame: quarter turns clockwise, and whether it mirrors left to right before."""
    try:
        matrix = np.frombuffer(bytes(cast(SideDataContainer, frame.side_data)[Type.DISPLAYMATRIX]), np.int32)
    except KeyError:
        return 0, False
    except ValueError:  # FFmpeg has kinds of side data that PyAV does not know.
        return round(-frame.rotation / 90) % 4, False
    # A point (x, y) of the frame, with y pointing down, is displayed at (a x + c y, b x + d y).
    a, b, _, c, d = (int(value) for value in matrix[:5])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(math.atan2(b, a) / (math.pi / 2)) % 4, mirrored


def _turn_upright(pixels: np.ndarray, quarter_turns: int, mirrored: bool) -> np.ndarray:
    return np.rot90(pixels[:, ::-1] if mirrored else pixels, k=-quarter_turns)


def _has_alpha(pixel_format: VideoFormat) -> bool:
    return pixel_format.name == "pal8" or any(component.is_alpha for component in pixel_format.components)


def _colour_matrix(frame: VideoFrame) -> Colorspace | None:
    """Return BT.709 for unspecified video above standard definition, as players do; None for the frame's own."""
    unspecified = frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb
    return Colorspace.ITU709 if unspecified and (frame.width >= 1280 or frame.height > 576) else None


@functools.cache
def _pq_to_sdr() -> np.ndarray:
    """Return a table from SMPTE ST 2084 code values (0 to 10,000 cd/m2) to those of a standard screen, uint8 `(256,)`.

    Reference white of 203 cd/m2 (ITU-R BT.2408) maps to three quarters of the range; highlights are compressed up to
    1,000 cd/m2 with Reinhard's curve (Reinhard et al., Photographic Tone Reproduction for Digital Images, 2002,
    equation 4).
    """
    code = (np.arange(256) / 255) ** (1 / 78.84375)
    light = 10_000 * (np.maximum(code - 0.8359375, 0) / (18.8515625 - 18.6875 * code)) ** (1 / 0.1593017578125)
    relative, brightest = light / 203, 1000 / 203
    mapped = relative * (1 + relative / brightest**2) / (1 + relative)
    return (255 * np.clip(mapped, 0, 1) ** (1 / 2.4) + 0.5).astype(np.uint8)


def stack_frames(frames: Sequence[np.ndarray], shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Stack RGB frames as uint8 `(F, H, W, 3)`; a stream can change its size, so all get that of the first.

    Args:
        frames: uint8 `(H, W, 3)`.
        shape: of the stream's first frame, if that is not the first of these.
    """
    shape = shape or frames[0].shape
    return np.stack([frame if frame.shape == shape else _resize(frame, shape) for frame in frames])


def _resize(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    frame = VideoFrame.from_ndarray(pixels, format="rgb24")
    return frame.reformat(width=shape[1], height=shape[0]).to_ndarray()
