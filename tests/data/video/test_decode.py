from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data.errors import DataError
from data.video.decode import DecodeSettings, decode_clip
from tests.helpers.video_files import brightness, grey_levels, moving_square, write_video

SETTINGS = DecodeSettings(frames=8, short_side=32)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("clip.mp4", "libx264", "yuv420p"),
        ("clip.MOV", "libx264", "yuv420p"),
        ("clip.avi", "mpeg4", "yuv420p"),
        ("clip.mkv", "libx264", "yuv420p"),
        ("clip.webm", "libvpx-vp9", "yuv420p"),
        ("clip.gif", "gif", "rgb8"),
    ],
)
def test_common_containers_yield_equally_spaced_frames(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    source = grey_levels(24)
    decoded = decode_clip(write_video(tmp_path / name, source, codec=codec, pixels=pixels), SETTINGS)
    assert decoded.frames.shape == (8, 32, 43, 3)
    assert decoded.frames.dtype == np.uint8
    assert decoded.facts.damage == ""
    expected = [source[int((i + 0.5) * 3)].mean() for i in range(8)]
    # GIF has 256 colours; limited-range YUV rounds by a level or two.
    np.testing.assert_allclose(brightness(decoded.frames), expected, atol=20 if codec == "gif" else 4)


def test_short_clip_repeats_frames_in_order(tmp_path: Path) -> None:
    decoded = decode_clip(write_video(tmp_path / "short.mp4", grey_levels(3)), SETTINGS)
    assert len(decoded.frames) == 8
    assert len(np.unique(brightness(decoded.frames).round())) == 3
    assert (np.diff(brightness(decoded.frames)) >= -1).all()


def test_last_frames_are_flushed_from_the_decoder(tmp_path: Path) -> None:
    source = grey_levels(10)
    file = write_video(tmp_path / "bframes.mp4", source, options={"bf": "3", "g": "30"})
    decoded = decode_clip(file, DecodeSettings(frames=10, short_side=32))
    np.testing.assert_allclose(brightness(decoded.frames), [frame.mean() for frame in source], atol=4)


def test_variable_frame_rate_is_sampled_by_time(tmp_path: Path) -> None:
    dark, bright = np.full((48, 64, 3), 30, np.uint8), np.full((48, 64, 3), 220, np.uint8)
    # Nine dark frames in the first 0.2 s, then a bright frame every 0.4 s up to 2 s.
    frames = [dark] * 9 + [bright] * 5
    stamps = [i * 22 for i in range(9)] + [200 + 400 * i for i in range(5)]
    file = write_video(tmp_path / "vfr.mkv", frames, stamps=stamps)
    decoded = decode_clip(file, DecodeSettings(frames=20, short_side=32))
    assert (brightness(decoded.frames) > 120).mean() > 0.8


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path: Path, rotation: int) -> None:
    landscape = np.zeros((48, 64, 3), np.uint8)
    landscape[:16, :16] = 255  # A mark in the top left corner as stored.
    plain = decode_clip(write_video(tmp_path / "plain.mp4", [landscape] * 5), SETTINGS).frames[0]
    turned = decode_clip(write_video(tmp_path / "turned.mp4", [landscape] * 5, rotation=rotation), SETTINGS).frames[0]
    # FFmpeg's display rotation is counter-clockwise, like NumPy's.
    expected = np.rot90(plain, k=rotation // 90)
    assert turned.shape == expected.shape
    assert np.abs(turned.astype(int) - expected.astype(int)).mean() < 8


def test_non_square_pixels_are_stretched(tmp_path: Path) -> None:
    file = write_video(tmp_path / "anamorphic.mp4", moving_square(0), pixel_aspect=Fraction(2, 1))
    assert decode_clip(file, SETTINGS).frames.shape[1:3] == (32, 85)


def test_small_video_is_not_enlarged_and_panorama_is_bounded(tmp_path: Path) -> None:
    small = decode_clip(write_video(tmp_path / "small.mp4", grey_levels(4, 24, 32)), SETTINGS)
    assert small.frames.shape[1:3] == (24, 32)
    wide = decode_clip(write_video(tmp_path / "wide.mp4", grey_levels(4, 32, 320)), SETTINGS)
    assert wide.frames.shape[1:3] == (32, 128)


def test_decoding_is_deterministic(tmp_path: Path) -> None:
    file = write_video(tmp_path / "clip.mp4", moving_square(3))
    np.testing.assert_array_equal(decode_clip(file, SETTINGS).frames, decode_clip(file, SETTINGS).frames)


def test_file_without_frames_is_rejected_with_reason(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(DataError, match="^the file is empty$"):
        decode_clip(empty, SETTINGS)
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(DataError, match="^FFmpeg can't read it: "):
        decode_clip(noise, SETTINGS)
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(write_video(tmp_path / "whole.mp4", moving_square(1)).read_bytes()[:700])
    with pytest.raises(DataError, match="FFmpeg can't read it"):
        decode_clip(headless, SETTINGS)


def test_audio_file_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "audio.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="^it has no video stream$"):
        decode_clip(file, SETTINGS)


@pytest.mark.parametrize(("field", "value"), [("frames", 0), ("frames", 2000), ("short_side", 8)])
def test_out_of_range_settings_are_rejected(field: str, value: int) -> None:
    with pytest.raises(DataError, match=str(value)):
        DecodeSettings(**{field: value})


def test_facts_match_the_encoded_file(tmp_path: Path) -> None:
    file = write_video(tmp_path / "clip.mp4", moving_square(0, count=30), fps=30, rotation=90)
    facts = decode_clip(file, SETTINGS).facts
    assert (facts.codec, facts.width, facts.height, facts.rotation) == ("h264", 64, 48, 270)
    assert (facts.packets, facts.frames, facts.sought, facts.damage) == (30, 30, False, "")
    assert facts.duration == pytest.approx(1.0, abs=0.01)
    assert facts.fps == pytest.approx(30, abs=0.3)
    assert not facts.variable_rate
    uneven = write_video(tmp_path / "vfr.mkv", grey_levels(6), stamps=[0, 20, 40, 300, 700, 720])
    assert decode_clip(uneven, SETTINGS).facts.variable_rate
