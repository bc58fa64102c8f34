"""Long videos are sampled by seeking, in bounded memory, and yield the same frames as full decoding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.video.container import UnusableClipError
from data.video.decode import DecodeSettings, decode_clip
from tests.helpers.video_files import corrupt_packets, remux, textured, truncate, write_video

SETTINGS = DecodeSettings(frames=16, short_side=32)


def write_half_minute(folder: Path, name: str, codec: str, options: dict[str, str]) -> Path:
    # MP4 stores decoding times; copying packets from other containers would have to guess them.
    name = name if codec in ("libvpx", "flv1") else "half-minute.mp4"
    return write_video(folder / name, textured(3, 750, 64, 96), codec=codec, options=options)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b-frames.mp4", "libx264", {"g": "25", "bf": "3", "preset": "superfast"}),
        ("open-gops.mkv", "libx264", {"g": "25", "bf": "3", "x264-params": "open-gop=1", "preset": "superfast"}),
        ("open-gops.ts", "libx264", {"g": "25", "bf": "3", "x264-params": "open-gop=1", "preset": "superfast"}),
        (
            "hevc.mp4",
            "libx265",
            {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=1:keyint=25:bframes=3"},
        ),
        ("vp9.mkv", "libvpx-vp9", {"g": "25", "cpu-used": "8", "deadline": "realtime"}),
        ("vp8.webm", "libvpx", {"g": "25", "cpu-used": "16", "deadline": "realtime"}),
        ("simple.avi", "mpeg4", {"g": "25"}),
        ("web.flv", "flv1", {"g": "25"}),
    ],
)
def test_seeking_yields_the_frames_of_full_decoding(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three times half a minute. Since its packets are too many to hold, FFmpeg seeks in the file.
    file = remux(write_half_minute(tmp_path, name, codec, options), tmp_path / f"long-{name}", copies=3)
    monkeypatch.setattr("data.video.scan._MAX_HELD_PACKETS", 500)
    sought = decode_clip(file, SETTINGS)
    assert (sought.facts.sought, sought.facts.damage) == (True, "")
    assert sought.facts.packets == 2250
    assert sought.facts.frames < 1000
    monkeypatch.setattr("data.video.frame_reader._LONG_VIDEO_PACKETS", 10**9)
    full = decode_clip(file, SETTINGS)
    assert (full.facts.sought, full.facts.damage) == (False, "")
    np.testing.assert_array_equal(sought.frames, full.frames)
    monkeypatch.setattr("data.video.scan._MAX_HELD_PACKETS", 10**9)
    np.testing.assert_array_equal(decode_clip(file, SETTINGS).frames, full.frames)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b-frames.mp4", "libx264", {"g": "25", "bf": "3", "preset": "medium"}),
        (
            "hevc.mkv",
            "libx265",
            {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=1:keyint=25:bframes=3"},
        ),
        ("b-frames.mov", "mpeg4", {"g": "25", "bf": "2"}),
        ("dvd.ts", "mpeg2video", {"g": "15", "bf": "2"}),
        ("vp9.webm", "libvpx-vp9", {"g": "25", "cpu-used": "8"}),
    ],
)
def test_skipping_unneeded_frames_changes_no_pixel(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    file = write_video(tmp_path / name, textured(3, 100, 48, 64), codec=codec, options=options)
    all_frames = decode_clip(file, DecodeSettings(frames=100, short_side=48)).frames
    for count in (1, 4, 20):
        indices = ((np.arange(count) + 0.5) / count * 100).astype(int)
        np.testing.assert_array_equal(decode_clip(file, DecodeSettings(count, 48)).frames, all_frames[indices])


def test_long_video_with_few_key_frames_is_decoded_fully(tmp_path: Path) -> None:
    options = {"g": "10000", "sc_threshold": "0", "preset": "ultrafast"}
    file = write_video(tmp_path / "one-gop.mkv", textured(3, 1600, 16, 16), options=options)
    facts = decode_clip(file, SETTINGS).facts
    assert (facts.sought, facts.frames, facts.packets) == (False, 1600, 1600)


def test_damage_in_long_video_is_reported_if_a_sampled_frame_is_lost(tmp_path: Path) -> None:
    options = {"g": "25", "bf": "0", "preset": "superfast"}
    file = remux(write_half_minute(tmp_path, "clip.mp4", "libx264", options), tmp_path / "long.mp4", copies=3)
    intact = decode_clip(file, SETTINGS)
    # The sampled frames are 141 apart, starting at 70.
    corrupted = decode_clip(corrupt_packets(file, range(480, 500), header=True), SETTINGS)
    assert corrupted.facts.sought
    assert corrupted.facts.damage.startswith("15 of 16 sampled frames decode (")
    same = [(frame == expected).all() for frame, expected in zip(corrupted.frames, intact.frames, strict=True)]
    assert same == [number != 3 for number in range(16)]
    indexed = remux(file, tmp_path / "indexed.mp4", options={"movflags": "+faststart"})
    with pytest.raises(UnusableClipError, match=r"of 2250 frames decode \(.*the file is cut short\)$"):
        decode_clip(truncate(indexed, 0.3), SETTINGS)


PRINT_PEAK_MEMORY = """
import resource, sys
from pathlib import Path
from data.video.decode import DecodeSettings, decode_clip
facts = decode_clip(Path(sys.argv[1]), DecodeSettings(frames=16, short_side=32)).facts
print(facts.packets, int(facts.sought), facts.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_duration(tmp_path: Path) -> None:
    short = write_half_minute(tmp_path, "clip.mp4", "libx264", {"g": "50", "preset": "superfast"})
    hour = remux(short, tmp_path / "hour.mp4", copies=120)
    results = [
        [int(part) for part in subprocess.check_output([sys.executable, "-c", PRINT_PEAK_MEMORY, str(file)]).split()]
        for file in (short, hour)
    ]
    (packets, _, _, peak), (hour_packets, sought, decoded, hour_peak) = results
    assert (packets, hour_packets, sought) == (750, 90_000, 1)
    assert decoded < 1600
    # Per packet 26 bytes of numbers and the container's index, plus the packets held before the limit.
    assert hour_peak - peak < 40 * 1024
