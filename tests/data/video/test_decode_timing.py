"""Display times come from the packets and are repaired where they are wrong; headers are not trusted."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data.video.decode import DecodeSettings, decode_clip
from tests.helpers.video_files import brightness, grey_levels, remux, write_video

SETTINGS = DecodeSettings(frames=8, short_side=32)
SOURCE = grey_levels(40)
EXPECTED = [SOURCE[int((i + 0.5) * 5)].mean() for i in range(8)]


@pytest.mark.parametrize("declared", [0.01, 1.0, 50.0, 10_000.0])
@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_wrong_duration_in_header_is_ignored(tmp_path: Path, name: str, declared: float) -> None:
    file = write_video(tmp_path / name, SOURCE)
    data = bytearray(file.read_bytes())
    if name.endswith("mkv"):
        start = data.find(b"\x44\x89\x88") + 3  # Duration, a float of 8 bytes in milliseconds.
        data[start : start + 8] = struct.pack(">d", 1000 * declared)
    else:
        for box, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
            start = data.find(box) + 4 + offset
            data[start : start + 4] = struct.pack(">I", int(1000 * declared))
    file.write_bytes(data)
    if name.endswith("mkv"):  # FFmpeg takes the duration of an MP4 from its sample table.
        with av.open(str(file)) as container:
            assert container.duration == pytest.approx(1e6 * declared)
    decoded = decode_clip(file, SETTINGS)
    np.testing.assert_allclose(brightness(decoded.frames), EXPECTED, atol=4)
    assert decoded.facts.duration == pytest.approx(1.6, abs=0.05)
    assert decoded.facts.damage == ""


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts", "clip.webm"])
def test_header_without_frame_count_is_accepted(tmp_path: Path, name: str) -> None:
    file = write_video(tmp_path / name, SOURCE, codec="libvpx" if name.endswith("webm") else "libx264")
    with av.open(str(file)) as container:
        assert container.streams.video[0].frames == 0
    assert decode_clip(file, SETTINGS).facts.packets == 40


@pytest.mark.parametrize("seconds", [0.4, 7.0, 3600.0])
def test_first_frame_may_have_any_time_stamp(tmp_path: Path, seconds: float) -> None:
    def later(packet: av.Packet, number: int) -> None:
        ticks = int(seconds / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks

    plain = write_video(tmp_path / "plain.mp4", SOURCE)
    late = remux(plain, tmp_path / "late.mkv", change=later, options={"avoid_negative_ts": "disabled"})
    decoded = decode_clip(late, SETTINGS)
    np.testing.assert_allclose(brightness(decoded.frames), EXPECTED, atol=4)
    assert decoded.facts.duration == pytest.approx(1.6, abs=0.05)


def test_frames_hidden_by_an_edit_list_are_skipped(tmp_path: Path) -> None:
    def earlier(packet: av.Packet, number: int) -> None:
        ticks = int(Fraction(10, 25) / packet.time_base)
        packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks

    plain = write_video(tmp_path / "plain.mp4", SOURCE)
    trimmed = remux(plain, tmp_path / "trimmed.mp4", change=earlier, options={"avoid_negative_ts": "disabled"})
    decoded = decode_clip(trimmed, SETTINGS)
    assert (decoded.facts.packets, decoded.facts.damage) == (30, "")
    expected = [SOURCE[10 + int((i + 0.5) * 30 / 8)].mean() for i in range(8)]
    np.testing.assert_allclose(brightness(decoded.frames), expected, atol=4)


@pytest.mark.parametrize("jump", [-30.0, 500.0, 80_000.0])
def test_jumping_clock_is_repaired(tmp_path: Path, jump: float) -> None:
    def second_half(packet: av.Packet, number: int) -> bool:
        ticks = int(jump / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return number >= 20

    plain = write_video(tmp_path / "plain.ts", SOURCE, options={"bf": "0", "g": "20"})
    # Join two transport streams byte by byte, since no muxer writes a clock that goes backwards.
    offset = {"output_ts_offset": "40"}
    first = remux(plain, tmp_path / "1.ts", change=lambda packet, number: number < 20, options=offset)
    second = remux(plain, tmp_path / "2.ts", change=second_half, options=offset)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    decoded = decode_clip(joined, SETTINGS)
    np.testing.assert_allclose(brightness(decoded.frames), EXPECTED, atol=4)
    assert decoded.facts.duration == pytest.approx(1.6, abs=0.1)
    assert decoded.facts.damage == ""


def test_frames_without_time_stamps_are_spaced_evenly(tmp_path: Path) -> None:
    file = write_video(tmp_path / "bare.h264", SOURCE, options={"bf": "3"})
    with av.open(str(file)) as container:
        assert any(packet.pts is None for packet in container.demux(video=0) if packet.size)
    decoded = decode_clip(file, SETTINGS)
    np.testing.assert_allclose(brightness(decoded.frames), EXPECTED, atol=4)


@pytest.mark.parametrize(("name", "fps"), [("clip.gif", 30), ("clip.mkv", 30), ("clip.mp4", 24), ("clip.flv", 60)])
def test_constant_rate_is_recognized_despite_coarse_time_stamps(tmp_path: Path, name: str, fps: int) -> None:
    codec, pixels = {"gif": ("gif", "rgb8"), "flv": ("flv1", "yuv420p")}.get(name[5:], ("libx264", "yuv420p"))
    facts = decode_clip(write_video(tmp_path / name, SOURCE, fps=fps, codec=codec, pixels=pixels), SETTINGS).facts
    assert not facts.variable_rate
    assert facts.fps == pytest.approx(fps, rel=0.12)
