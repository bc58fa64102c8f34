"""Damaged files: frames that decode are used, the damage is reported, and a file with too few is rejected."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from data.video.container import UnusableClipError
from data.video.decode import DecodedClip, DecodeSettings, decode_clip
from tests.helpers.video_files import brightness, corrupt_packets, remux, textured, truncate, write_video

SETTINGS = DecodeSettings(frames=10, short_side=48)
COUNT = 60

CONTAINERS = [
    pytest.param("clip.mp4", "libx264", {"g": "20"}, id="mp4"),
    pytest.param("clip.mkv", "libx264", {"g": "20"}, id="mkv"),
    pytest.param("clip.webm", "libvpx-vp9", {"g": "20", "cpu-used": "8"}, id="webm"),
    pytest.param("clip.avi", "mjpeg", {}, id="avi"),
]


def write_clip(folder: Path, name: str, codec: str, options: dict[str, str]) -> Path:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    file = write_video(folder / name, textured(1, COUNT), codec=codec, options=options, pixels=pixels)
    return remux(file, folder / "index-first.mp4", options={"movflags": "+faststart"}) if name == "clip.mp4" else file


def reported_damage(decoded: DecodedClip) -> tuple[int, int]:
    """Return the frames that decode and those expected, from the clip's damage text."""
    found = re.match(r"(\d+) of (\d+) frames decode \(.+\)$", decoded.facts.damage)
    assert found, decoded.facts
    return int(found[1]), int(found[2])


@pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS)
def test_truncated_file_is_used_up_to_the_cut(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    whole = write_clip(tmp_path, name, codec, options)
    assert decode_clip(whole, SETTINGS).facts.damage == ""
    clip = decode_clip(truncate(whole, 0.7), SETTINGS)
    decodable, expected = reported_damage(clip)
    assert COUNT * 0.55 <= decodable <= COUNT * 0.8
    assert expected == pytest.approx(COUNT, rel=0.2)
    assert clip.facts.packets == expected
    assert "the file is cut short" in clip.facts.damage
    assert clip.facts.duration < 0.8 * COUNT / 25
    # The frames are sampled from the part that is there, not from the original duration.
    assert (np.diff(brightness(clip.frames)) > 2).sum() >= 7


@pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS)
def test_file_with_less_than_half_left_is_rejected(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    with pytest.raises(UnusableClipError, match=r"^\d+ of \d+ frames decode \(.*the file is cut short\)$") as error:
        decode_clip(truncate(write_clip(tmp_path, name, codec, options), 0.3), SETTINGS)
    assert error.value.defect == "truncated"


def test_truncated_fragmented_mp4_reports_damage(tmp_path: Path) -> None:
    file = write_video(tmp_path / "clip.mp4", textured(1, COUNT), options={"g": "10"})
    whole = remux(file, tmp_path / "fragments.mp4", options={"movflags": "+frag_keyframe+empty_moov"})
    assert decode_clip(whole, SETTINGS).facts.damage == ""
    decodable, expected = reported_damage(decode_clip(truncate(whole, 0.7), SETTINGS))
    assert COUNT * 0.5 <= decodable < expected <= COUNT


def test_truncated_transport_stream_reports_damage_of_unknown_extent(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.ts", textured(1, COUNT), options={"g": "20"})
    data = whole.read_bytes()
    short = tmp_path / "short.ts"
    short.write_bytes(data[: len(data) * 7 // 10 // 188 * 188 + 100])
    decodable, expected = reported_damage(decode_clip(short, SETTINGS))
    assert COUNT * 0.5 <= decodable < expected <= decodable + 3


def test_mp4_without_its_index_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnusableClipError, match="^FFmpeg can't read it: ") as error:
        decode_clip(truncate(write_video(tmp_path / "clip.mp4", textured(1, COUNT)), 0.7), SETTINGS)
    assert error.value.defect == "unreadable"


@pytest.mark.parametrize("header", [False, True], ids=["concealed", "rejected"])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("clip.mp4", "libx264", {"bf": "0"}), ("clip.avi", "mpeg4", {}), ("clip.mov", "prores_ks", {})],
)
def test_decoding_continues_after_corrupt_packets(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], header: bool
) -> None:
    pixels = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    whole = write_video(tmp_path / name, textured(1, COUNT), codec=codec, options=options, pixels=pixels)
    all_frames = DecodeSettings(frames=COUNT, short_side=48)
    intact = decode_clip(whole, all_frames)
    clip = decode_clip(corrupt_packets(whole, range(30, 34), header=header), all_frames)
    decodable, expected = reported_damage(clip)
    # The H.264 decoder also rejects frames that reference a lost one, up to the next key frame.
    lost = 4 + (11 if codec == "libx264" and header else 0)
    assert (decodable, expected) == (COUNT - lost, COUNT)
    np.testing.assert_array_equal(clip.frames[:30], intact.frames[:30])
    # The last intact frame stays on screen in place of the lost ones.
    for number in range(30, 34):
        np.testing.assert_array_equal(clip.frames[number], intact.frames[29])
    assert clip.facts.frames == decodable
    assert intact.facts.damage == ""


def test_packets_skipped_by_the_demuxer_count_as_missing(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mkv", textured(1, COUNT), options={"g": "10", "bf": "0"})
    corrupted = corrupt_packets(whole, range(20, 24), header=True, before=12)
    decodable, expected = reported_damage(decode_clip(corrupted, SETTINGS))
    assert decodable <= COUNT - 4
    assert expected == pytest.approx(COUNT, abs=2)


def test_mostly_corrupt_file_is_rejected(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4", textured(1, COUNT), options={"bf": "0"})
    with pytest.raises(UnusableClipError, match=rf"^5 of {COUNT} frames decode") as error:
        decode_clip(corrupt_packets(whole, range(5, COUNT), header=True), SETTINGS)
    assert error.value.defect == "truncated"


def test_file_without_decodable_frames_is_rejected_with_reason(tmp_path: Path) -> None:
    whole = write_video(
        tmp_path / "clip.mp4", textured(1, 8), codec="libx265", options={"x265-params": "log-level=none"}
    )
    with pytest.raises(UnusableClipError, match="^none of its frames decodes: Invalid data found") as error:
        decode_clip(corrupt_packets(whole, range(8), header=True), SETTINGS)
    assert error.value.defect == "unreadable"


def test_frames_before_the_first_key_frame_count_as_missing(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.ts", textured(1, COUNT), options={"g": "20", "bf": "0"})
    late = remux(whole, tmp_path / "late.ts", change=lambda packet, number: number >= 10)
    clip = decode_clip(late, SETTINGS)
    assert reported_damage(clip) == (40, 50)
    assert "nothing decodes before the first key frame" in clip.facts.damage
