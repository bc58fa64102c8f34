"""What is left of a broken file is used, and how much it is is said; too little is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from data.video.decode import DecodedClip, DecodeSettings, UnusableClipError, decode_clip
from tests.helpers.video_files import break_packets, cut, remux, textured, write_video

SETTINGS = DecodeSettings(frames=10, short_side=48)
COUNT = 60

KINDS = [
    pytest.param("clip.mp4", "libx264", {"g": "20"}, id="mp4"),
    pytest.param("clip.mkv", "libx264", {"g": "20"}, id="mkv"),
    pytest.param("clip.webm", "libvpx-vp9", {"g": "20", "cpu-used": "8"}, id="webm"),
    pytest.param("clip.avi", "mjpeg", {}, id="avi"),
]


def make(folder: Path, name: str, codec: str, options: dict[str, str]) -> Path:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    file = write_video(folder / name, textured(1, COUNT), codec=codec, options=options, pixels=pixels)
    return remux(file, folder / "index-first.mp4", options={"movflags": "+faststart"}) if name == "clip.mp4" else file


def decodes(decoded: DecodedClip) -> tuple[int, int]:
    found = re.match(r"(\d+) of (\d+) frames decode \(.+\)$", decoded.facts.damage)
    assert found, decoded.facts
    return int(found[1]), int(found[2])


@pytest.mark.parametrize(("name", "codec", "options"), KINDS)
def test_a_file_cut_short_is_used_as_far_as_it_goes(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    whole = make(tmp_path, name, codec, options)
    assert decode_clip(whole, SETTINGS).facts.damage == ""
    clip = decode_clip(cut(whole, 0.7), SETTINGS)
    there, promised = decodes(clip)
    assert COUNT * 0.55 <= there <= COUNT * 0.8
    assert promised == pytest.approx(COUNT, rel=0.2)
    assert clip.facts.packets == promised
    assert "the file is cut short" in clip.facts.damage
    assert clip.facts.duration < 0.8 * COUNT / 25
    # The frames kept are spread over what is there, not over what should be.
    brightness = clip.frames.mean(axis=(1, 2, 3))
    assert (np.diff(brightness) > 2).sum() >= 7


@pytest.mark.parametrize(("name", "codec", "options"), KINDS)
def test_a_file_with_less_than_half_left_is_refused_as_truncated(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    with pytest.raises(UnusableClipError, match=r"^\d+ of \d+ frames decode \(.*the file is cut short\)$") as error:
        decode_clip(cut(make(tmp_path, name, codec, options), 0.3), SETTINGS)
    assert error.value.defect == "truncated"


def test_of_a_fragmented_mp4_only_the_last_fragment_is_known(tmp_path: Path) -> None:
    file = write_video(tmp_path / "clip.mp4", textured(1, COUNT), options={"g": "10"})
    whole = remux(file, tmp_path / "fragments.mp4", options={"movflags": "+frag_keyframe+empty_moov"})
    assert decode_clip(whole, SETTINGS).facts.damage == ""
    there, promised = decodes(decode_clip(cut(whole, 0.7), SETTINGS))
    assert COUNT * 0.5 <= there < promised <= COUNT


def test_a_transport_stream_tells_that_it_is_cut_but_not_how_long_it_was(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.ts", textured(1, COUNT), options={"g": "20"})
    data = whole.read_bytes()
    short = tmp_path / "short.ts"
    short.write_bytes(data[: len(data) * 7 // 10 // 188 * 188 + 100])
    there, promised = decodes(decode_clip(short, SETTINGS))
    assert COUNT * 0.5 <= there < promised <= there + 3


def test_an_mp4_that_lost_its_index_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnusableClipError, match="^FFmpeg can't read it: ") as error:
        decode_clip(cut(write_video(tmp_path / "clip.mp4", textured(1, COUNT)), 0.7), SETTINGS)
    assert error.value.defect == "unreadable"


@pytest.mark.parametrize("head", [False, True], ids=["concealed", "refused"])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("clip.mp4", "libx264", {"bf": "0"}), ("clip.avi", "mpeg4", {}), ("clip.mov", "prores_ks", {})],
)
def test_decoding_goes_on_past_broken_packets(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], head: bool
) -> None:
    pixels = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    whole = write_video(tmp_path / name, textured(1, COUNT), codec=codec, options=options, pixels=pixels)
    every = DecodeSettings(frames=COUNT, short_side=48)
    clip, sound = decode_clip(break_packets(whole, range(30, 34), head=head), every), decode_clip(whole, every)
    there, promised = decodes(clip)
    # H.264 also knows the frames that lean on those it never got, to the next key frame.
    lost = 4 + (11 if codec == "libx264" and head else 0)
    assert (there, promised) == (COUNT - lost, COUNT)
    np.testing.assert_array_equal(clip.frames[:30], sound.frames[:30])
    # The last sound picture stays on screen in place of those that are broken.
    for number in range(30, 34):
        np.testing.assert_array_equal(clip.frames[number], sound.frames[29])
    assert clip.facts.frames == there
    assert sound.facts.damage == ""


def test_packets_that_a_container_skips_are_missed(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mkv", textured(1, COUNT), options={"g": "10", "bf": "0"})
    torn = break_packets(whole, range(20, 24), head=True, before=12)
    there, promised = decodes(decode_clip(torn, SETTINGS))
    assert there <= COUNT - 4
    assert promised == pytest.approx(COUNT, abs=2)


def test_a_file_of_which_most_is_broken_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4", textured(1, COUNT), options={"bf": "0"})
    with pytest.raises(UnusableClipError, match=rf"^5 of {COUNT} frames decode") as error:
        decode_clip(break_packets(whole, range(5, COUNT), head=True), SETTINGS)
    assert error.value.defect == "truncated"


def test_a_file_of_which_nothing_decodes_says_why(tmp_path: Path) -> None:
    whole = write_video(
        tmp_path / "clip.mp4", textured(1, 8), codec="libx265", options={"x265-params": "log-level=none"}
    )
    with pytest.raises(UnusableClipError, match="^none of its frames decodes: Invalid data found") as error:
        decode_clip(break_packets(whole, range(8), head=True), SETTINGS)
    assert error.value.defect == "unreadable"


def test_frames_before_the_first_key_frame_are_missed(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.ts", textured(1, COUNT), options={"g": "20", "bf": "0"})
    late = remux(whole, tmp_path / "late.ts", change=lambda packet, number: number >= 10)
    clip = decode_clip(late, SETTINGS)
    assert decodes(clip) == (40, 50)
    assert "nothing decodes before the first key frame" in clip.facts.damage
