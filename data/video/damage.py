"""How much of a damaged video decodes: the frames that the file should have, and those that it yields."""

from __future__ import annotations

import math

from av.container import InputContainer
from av.video.stream import VideoStream

from data.video.container import UnusableClipError
from data.video.declared_size import declared_size
from data.video.frame_collector import FrameCollector
from data.video.scan import ScannedVideo
from data.video.timeline import Timeline


def expected_frames(video: ScannedVideo) -> tuple[int, bool]:
    """Return how many frames the file should display, and whether it is truncated.

    That is one per packet, and an estimate of those whose packets are missing.
    """
    timeline, format_name, size = video.timeline, video.container.format.name, video.path.stat().st_size
    if "mp4" in format_name:
        missing = len(video.stream.index_entries) - len(timeline.pts) - video.empty_packets
        if missing > 0:
            return timeline.num_displayed + missing, True
    declared = declared_size(video.path, format_name)
    truncated = declared > size
    if not truncated and not video.errors:
        return timeline.num_displayed, False
    offset = video.first_offset
    by_size = math.ceil(timeline.num_displayed * (declared - offset) / max(1, size - offset))
    by_duration = 0
    # The size of a truncated file is more reliable than its duration. A file with holes only has its time stamps.
    if not timeline.repaired and (not truncated or "mp4" in format_name):
        by_duration = round(timeline.num_displayed * _declared_seconds(video.stream) / timeline.seconds)
    return max(timeline.num_displayed + timeline.missing_frames, by_size, by_duration), truncated


def _declared_seconds(stream: VideoStream) -> float:
    """Return the video's duration according to its header; 0 if that may be another stream's."""
    container = stream.container
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if isinstance(container, InputContainer) and container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return 0.0


def decodable_frames(collector: FrameCollector, timeline: Timeline) -> int:
    """Return the number of packets whose frame decodes; skipped ones are assumed to be as intact as the others."""
    if collector.skip_unneeded or collector.seeking:
        return timeline.num_displayed
    # Two packets can be the fields of one frame.
    return max(0, timeline.num_displayed - collector.num_lost) if collector.interlaced else collector.num_decoded


def describe_damage(collector: FrameCollector, timeline: Timeline, expected: int, read_errors: list[str]) -> str:
    """Return a description of the damage of a clip of which most frames decode; empty without damage.

    Args:
        collector: after decoding.
        timeline: of the stream.
        expected: frames that the file should display.
        read_errors: errors found when the packets were read.

    Raises:
        UnusableClipError: less than half of the frames decode.
    """
    reasons = list(dict.fromkeys([*collector.errors, *read_errors]))
    all_decoded = not (collector.skip_unneeded or collector.seeking)
    if all_decoded and timeline.has_pts and collector.first_pts > timeline.displayed[0]:
        reasons.append("nothing decodes before the first key frame")
    count, noun = decodable_frames(collector, timeline), "frames"
    # Where recordings were joined, packet counters jump although no packet is missing.
    if not reasons or (all_decoded and reasons == read_errors and count >= expected):
        return ""
    if collector.seeking and collector.errors and 2 * count >= expected:
        count, expected, noun = collector.num_exact, len(collector.requested), "sampled frames"
    text = f"{count} of {expected} {noun} decode ({', '.join(reasons)})"
    if 2 * count < expected:
        raise UnusableClipError("truncated", text)
    return text
