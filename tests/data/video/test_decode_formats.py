"""Formats that phones, cameras and the web produce: codecs, colours, interlacing, orientation, streams, file names."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from data.video.container import UnusableClipError
from data.video.decode import DecodeSettings, decode_clip
from data.video.frame_converter import orientation
from tests.helpers.video_files import brightness, grey_levels, moving_square, remux, write_frames, write_video

SETTINGS = DecodeSettings(frames=8, short_side=32)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("hevc.mov", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
        ("hevc-10-bit.mp4", "libx265", "yuv420p10le", {"x265-params": "log-level=none"}),
        ("open-gops.mkv", "libx264", "yuv420p", {"g": "8", "x264-params": "open-gop=1"}),
        ("10-bit.mp4", "libx264", "yuv420p10le", {}),
        ("4-4-4.mp4", "libx264", "yuv444p", {}),
        ("b-frames.avi", "libx264", "yuv420p", {"bf": "2"}),
        ("mpeg4-b-frames.avi", "mpeg4", "yuv420p", {"bf": "2"}),
        ("transport.ts", "libx264", "yuv420p", {}),
        ("phone.3gp", "mpeg4", "yuv420p", {}),
        ("stream.h264", "libx264", "yuv420p", {}),
        ("vp8.webm", "libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "8"}),
        ("vp9.mkv", "libvpx-vp9", "yuv444p", {"cpu-used": "8"}),
        ("av1.mp4", "libsvtav1", "yuv420p", {"preset": "12", "svtav1-params": "lp=1"}),
        ("camera.avi", "mjpeg", "yuvj420p", {}),
        ("dvd.mpg", "mpeg2video", "yuv420p", {"bf": "2", "b": "4000000"}),
        ("web.flv", "flv1", "yuv420p", {}),
        ("windows.wmv", "wmv2", "yuv420p", {}),
        ("studio.mov", "prores_ks", "yuv422p10le", {}),
        ("archive.mkv", "ffv1", "yuv420p", {}),
        ("screen.mov", "qtrle", "rgb24", {}),
        ("screen.png.mov", "png", "rgb24", {}),
        ("animated.apng", "apng", "rgb24", {}),
    ],
)
def test_each_codec_yields_its_frames_in_order(
    tmp_path: Path, name: str, codec: str, pixels: str, options: dict[str, str]
) -> None:
    source = grey_levels(24, 64, 80)
    decoded = decode_clip(write_video(tmp_path / name, source, codec=codec, pixels=pixels, options=options), SETTINGS)
    assert decoded.frames.shape == (8, 32, 40, 3)
    assert (decoded.facts.packets, decoded.facts.damage) == (24, "")
    assert decoded.facts.duration == pytest.approx(24 / 25, abs=0.05)
    np.testing.assert_allclose(
        brightness(decoded.frames), [source[int((i + 0.5) * 3)].mean() for i in range(8)], atol=5
    )


def test_write_video_restores_the_scheduling_policy(tmp_path: Path) -> None:
    write_video(tmp_path / "av1.mp4", grey_levels(4), codec="libsvtav1", options={"svtav1-params": "lp=1"})
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("odd.mp4", "libx264", "yuv444p"),
        ("odd.webm", "libvpx-vp9", "yuv420p"),
        ("odd.gif", "gif", "rgb8"),
        ("odd.mov", "qtrle", "rgb24"),
    ],
)
def test_odd_sizes_keep_their_aspect_ratio(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    file = write_video(tmp_path / name, grey_levels(4, 45, 63), codec=codec, pixels=pixels)
    assert decode_clip(file, SETTINGS).frames.shape[1:3] == (32, 45)


def test_video_one_pixel_wide_decodes(tmp_path: Path) -> None:
    tiny = write_video(tmp_path / "tiny.mov", grey_levels(4, 17, 1), codec="qtrle", pixels="rgb24")
    assert decode_clip(tiny, SETTINGS).frames.shape[1:3] == (17, 1)


def test_clip_of_one_frame_decodes(tmp_path: Path) -> None:
    decoded = decode_clip(write_video(tmp_path / "one.mp4", grey_levels(1)), SETTINGS)
    assert len(decoded.frames) == 8
    assert decoded.facts.frames == 1


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("fields.mp4", "libx264", {"flags": "+ilme+ildct", "x264-params": "interlaced=1"}),
        ("fields.ts", "mpeg2video", {"flags": "+ilme+ildct"}),
    ],
)
def test_interlaced_video_is_deinterlaced(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    progressive = moving_square(2, count=24, height=128, width=160)
    # Each frame interleaves two instants: in the lower field the square is further along its path.
    interleaved = [upper.copy() for upper in progressive[:-1:2]]
    for frame, lower in zip(interleaved, progressive[1::2], strict=True):
        frame[1::2] = lower[1::2]
    file = write_video(tmp_path / name, interleaved, codec=codec, options=options)
    frames = decode_clip(file, DecodeSettings(frames=len(interleaved), short_side=128)).frames.astype(int)
    for shown, upper, lower in zip(frames, progressive[::2], progressive[1::2], strict=True):
        assert np.abs(shown - upper).mean() < 0.5 * np.abs(shown - lower).mean()
    assert combing(frames) < 0.5 * combing(np.stack(interleaved).astype(int))


def combing(frames: np.ndarray) -> float:
    """Return how much each row differs from the mean of its neighbours, for int `(F, H, W, 3)`."""
    return float(np.abs(frames[:, 1:-1] - (frames[:, :-2] + frames[:, 2:]) / 2).mean())


def flat_frame(pixels: str, matrix: int, full: bool, rgb: tuple[int, int, int], size: tuple[int, int]) -> av.VideoFrame:
    """Return a frame of one colour, encoded as its matrix defines (ITU-R BT.601, BT.709, BT.2020)."""
    red, blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    r, g, b = (value / 255 for value in rgb)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = [(b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))]
    depth = 4 if "10" in pixels else 1
    scaled = [luma * 255] if full else [16 + luma * 219]
    scaled += [128 + part * (255 if full else 224) for part in chroma]
    frame = av.VideoFrame(*size, pixels)
    for plane, value in zip(frame.planes, scaled, strict=True):
        kind = np.uint16 if depth > 1 else np.uint8
        plane.update(np.full(plane.buffer_size // kind().itemsize, round(depth * value), kind).tobytes())
    return frame


@pytest.mark.parametrize(
    ("matrix", "full", "pixels"),
    [
        (5, False, "yuv420p"),
        (1, False, "yuv420p"),
        (1, True, "yuv420p"),
        (5, True, "yuv420p"),
        (9, False, "yuv420p10le"),
        (1, False, "yuv444p"),
    ],
)
def test_colours_follow_matrix_and_range_tags(tmp_path: Path, matrix: int, full: bool, pixels: str) -> None:
    colour = (200, 60, 30)
    frame = flat_frame(pixels, matrix, full, colour, (64, 48))
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    shown = decode_clip(write_frames(tmp_path / "colour.mp4", [frame] * 3, codec="libx264"), SETTINGS).frames
    np.testing.assert_allclose(shown.reshape(-1, 3).mean(0), colour, atol=4)


@pytest.mark.parametrize(("size", "matrix"), [((1280, 720), 1), ((720, 576), 5)])
def test_untagged_colours_follow_the_frame_size(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    colour = (200, 60, 30)
    file = write_frames(
        tmp_path / "plain.mp4", [flat_frame("yuv420p", matrix, False, colour, size)] * 2, codec="libx264"
    )
    np.testing.assert_allclose(decode_clip(file, SETTINGS).frames.reshape(-1, 3).mean(0), colour, atol=4)


def test_hdr_is_tone_mapped(tmp_path: Path) -> None:
    # Reference white of 203 cd/m2 has PQ code 0.58: without tone mapping it would be a medium grey.
    frame = flat_frame("yuv420p10le", 9, False, (148, 148, 148), (64, 48))
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 9, 1, 9, 16
    options = {"x265-params": "log-level=none"}
    file = write_frames(tmp_path / "hdr.mp4", [frame] * 3, codec="libx265", options=options)
    assert 185 <= decode_clip(file, SETTINGS).frames.mean() <= 205


def test_transparent_pixels_are_black(tmp_path: Path) -> None:
    pixels = np.full((48, 64, 4), 200, np.uint8)
    pixels[:, :32, 3], pixels[:, 32:, 3] = 0, 255
    frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="argb")
    shown = decode_clip(write_frames(tmp_path / "alpha.mov", [frame] * 3, codec="qtrle"), SETTINGS).frames[0]
    assert shown[:, :18].max() == 0
    assert (shown[:, 24:] == 200).all()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_all_eight_orientations_are_turned_upright(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    stored = np.zeros((64, 96, 3), np.uint8)
    stored[:32, :32], stored[:32, 64:] = 255, 120  # A bright and a dim mark in the upper corners.
    file = tmp_path / "turned.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(rotation, hflip=mirrored)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored)))
        container.mux(stream.encode(None))
    turned = np.rot90(stored, k=rotation // 90)
    expected = turned[:, ::-1] if mirrored else turned
    decoded = decode_clip(file, DecodeSettings(frames=1, short_side=64))
    assert decoded.frames.shape[1:] == expected.shape
    assert np.abs(decoded.frames[0].astype(int) - expected).mean() < 5
    with av.open(str(file)) as container:
        assert orientation(next(container.decode(video=0)))[1] == mirrored
    assert decoded.facts.width == 96
    assert decoded.facts.rotation in (0, 90, 180, 270)


def write_two_streams(file: Path, second: Disposition, *, cover_only: bool = False) -> Path:
    with av.open(str(file), "w") as container:
        streams = []
        if not cover_only:
            streams.append((container.add_stream("libx264", rate=25), grey_levels(12)))
        other = container.add_stream("mjpeg", rate=25)
        other.disposition = second
        streams.append((other, [np.full((480, 640, 3), 255, np.uint8)]))
        for stream, frames in streams:
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if stream is other else "yuv420p"
        if cover_only:
            sound = container.add_stream("aac", rate=44100)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 44100
        for stream, frames in streams:
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
            container.mux(stream.encode(None))
        if cover_only:
            container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
    return file


def test_cover_art_is_ignored(tmp_path: Path) -> None:
    decoded = decode_clip(write_two_streams(tmp_path / "cover.mp4", Disposition.attached_pic), SETTINGS)
    assert (decoded.facts.codec, decoded.facts.width, decoded.facts.packets) == ("h264", 64, 12)
    with pytest.raises(UnusableClipError, match="^it has no video stream$") as error:
        decode_clip(write_two_streams(tmp_path / "song.mp4", Disposition.attached_pic, cover_only=True), SETTINGS)
    assert error.value.defect == "no video stream"


def test_largest_of_several_video_streams_is_decoded(tmp_path: Path) -> None:
    decoded = decode_clip(write_two_streams(tmp_path / "two.mkv", Disposition(0)), SETTINGS)
    assert (decoded.facts.codec, decoded.facts.width) == ("mjpeg", 640)


@pytest.mark.parametrize(
    "name",
    [
        "Kniebeuge – größer.mp4",
        "深蹲 🏋️.mp4",
        "12:30.mp4",
        "http:clip.mp4",
        "100%d of it.mp4",
        "-v.mp4",
        "a" * 251 + ".mp4",
        os.fsdecode(b"caf\xe9.mp4"),
    ],
    ids=lambda name: ascii(name)[:20],
)
def test_any_file_name_can_be_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = write_video(tmp_path / "plain.mp4", moving_square(1))
    expected = decode_clip(plain, SETTINGS).frames
    plain.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(decode_clip(Path(name), SETTINGS).frames, expected)


def test_symbolic_links_are_followed_and_broken_ones_raise(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", moving_square(1))
    (tmp_path / "link.mp4").symlink_to(clip)
    np.testing.assert_array_equal(
        decode_clip(tmp_path / "link.mp4", SETTINGS).frames, decode_clip(clip, SETTINGS).frames
    )
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("dangling.mp4", "loop.mp4", "folder.mp4"):
        with pytest.raises(OSError, match=name):
            decode_clip(tmp_path / name, SETTINGS)


def test_file_without_permission_raises(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", moving_square(1))
    clip.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # Root ignores permissions.
        with pytest.raises(PermissionError):
            decode_clip(clip, SETTINGS)
    finally:
        os.seteuid(user)


def test_playlist_named_like_a_video_downloads_nothing(tmp_path: Path) -> None:
    requests: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        playlist = tmp_path / "clip.mp4"
        playlist.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:{server.server_port}/a.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(UnusableClipError):
            decode_clip(playlist, SETTINGS)
    finally:
        server.shutdown()
    assert requests == []


def test_metadata_in_another_encoding_is_accepted(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.mp4", moving_square(1))
    tagged = tmp_path / "tagged.mkv"
    with av.open(str(plain)) as source, av.open(str(tagged), "w") as target:
        target.metadata["title"] = "Cafe-Title"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux_one(packet)
    tagged.write_bytes(tagged.read_bytes().replace(b"Cafe-Title", b"Caf\xe9-Title"))
    assert decode_clip(tagged, SETTINGS).facts.packets == 12


def test_remuxed_file_decodes_to_the_same_pixels(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.mp4", moving_square(1, count=30))
    for name in ("other.mkv", "other.ts", "other.mov"):
        np.testing.assert_array_equal(
            decode_clip(remux(plain, tmp_path / name), SETTINGS).frames, decode_clip(plain, SETTINGS).frames
        )
