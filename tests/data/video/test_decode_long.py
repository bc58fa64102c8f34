"""Long videos are sampled by seeking, in bounded memory, with the frames that decoding through would give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.video.decode import DecodeSettings, UnusableClipError, decode_clip
from tests.helpers.video_files import break_packets, cut, remux, textured, write_video

SETTINGS = DecodeSettings(frames=16, short_side=32)


def half_minute(folder: Path, name: str, codec: str, options: dict[str, str]) -> Path:
    # MP4 keeps decoding times, which other containers leave to be guessed when packets are copied.
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
def test_seeking_gives_the_frames_of_decoding_through(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three times half a minute; the pieces' packets are too many to be held, so the file itself is sought in.
    file = remux(half_minute(tmp_path, name, codec, options), tmp_path / f"long-{name}", copies=3)
    monkeypatch.setattr("data.video.timeline._HELD_PACKETS", 500)
    sought = decode_clip(file, SETTINGS)
    assert (sought.facts.sought, sought.facts.damage) == (True, "")
    assert sought.facts.packets == 2250
    assert sought.facts.frames < 1000
    monkeypatch.setattr("data.video.reach._LONG_PACKETS", 10**9)
    through = decode_clip(file, SETTINGS)
    assert (through.facts.sought, through.facts.damage) == (False, "")
    np.testing.assert_array_equal(sought.frames, through.frames)
    monkeypatch.setattr("data.video.timeline._HELD_PACKETS", 10**9)
    np.testing.assert_array_equal(decode_clip(file, SETTINGS).frames, through.frames)


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
def test_leaving_out_what_no_kept_frame_needs_changes_no_pixel(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    file = write_video(tmp_path / name, textured(3, 100, 48, 64), codec=codec, options=options)
    every = decode_clip(file, DecodeSettings(frames=100, short_side=48)).frames
    for count in (1, 4, 20):
        places = ((np.arange(count) + 0.5) / count * 100).astype(int)
        np.testing.assert_array_equal(decode_clip(file, DecodeSettings(count, 48)).frames, every[places])


def test_a_long_video_with_few_key_frames_is_decoded_through(tmp_path: Path) -> None:
    options = {"g": "10000", "sc_threshold": "0", "preset": "ultrafast"}
    file = write_video(tmp_path / "one-gop.mkv", textured(3, 1600, 16, 16), options=options)
    facts = decode_clip(file, SETTINGS).facts
    assert (facts.sought, facts.frames, facts.packets) == (False, 1600, 1600)


def test_a_broken_place_in_a_long_video_is_named_if_a_kept_frame_lies_there(tmp_path: Path) -> None:
    options = {"g": "25", "bf": "0", "preset": "superfast"}
    file = remux(half_minute(tmp_path, "clip.mp4", "libx264", options), tmp_path / "long.mp4", copies=3)
    sound = decode_clip(file, SETTINGS)
    # Kept frames are 141 apart, from 70 on.
    broken = decode_clip(break_packets(file, range(480, 500), head=True), SETTINGS)
    assert broken.facts.sought
    assert broken.facts.damage.startswith("15 of 16 sampled frames decode (")
    same = [(kept == as_it_was).all() for kept, as_it_was in zip(broken.frames, sound.frames, strict=True)]
    assert same == [number != 3 for number in range(16)]
    indexed = remux(file, tmp_path / "indexed.mp4", options={"movflags": "+faststart"})
    with pytest.raises(UnusableClipError, match=r"of 2250 frames decode \(.*the file is cut short\)$"):
        decode_clip(cut(indexed, 0.3), SETTINGS)


MEASURE = """
import resource, sys
from pathlib import Path
from data.video.decode import DecodeSettings, decode_clip
facts = decode_clip(Path(sys.argv[1]), DecodeSettings(frames=16, short_side=32)).facts
print(facts.packets, int(facts.sought), facts.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_an_hour_takes_little_more_memory_than_half_a_minute(tmp_path: Path) -> None:
    short = half_minute(tmp_path, "clip.mp4", "libx264", {"g": "50", "preset": "superfast"})
    hour = remux(short, tmp_path / "hour.mp4", copies=120)
    results = [
        [int(part) for part in subprocess.check_output([sys.executable, "-c", MEASURE, str(file)]).split()]
        for file in (short, hour)
    ]
    (packets, _, _, peak), (hour_packets, sought, decoded, hour_peak) = results
    assert (packets, hour_packets, sought) == (750, 90_000, 1)
    assert decoded < 1600
    # 26 bytes a packet of numbers, the container's own index, and what was held before it was too much.
    assert hour_peak - peak < 40 * 1024
