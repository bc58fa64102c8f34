"""FFmpeg's log."""

from __future__ import annotations

import contextlib
import io
import threading
from pathlib import Path

import av

from data.video.container import demuxer_errors, open_container
from tests.helpers.processes import call_in_new_process
from tests.helpers.video_files import grey_levels, write_video


def open_unreadable_file_while_another_is_read(good: str, bad: str) -> None:
    """Print what reaches stderr; in a new process, since pytest handles the log of its own."""

    def open_bad() -> None:
        with contextlib.suppress(av.error.FFmpegError):
            open_container(Path(bad))

    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), open_container(Path(good)) as container, demuxer_errors(container):
        thread = threading.Thread(target=open_bad)
        thread.start()
        thread.join()
    print(repr(stderr.getvalue()))


def test_errors_of_another_thread_are_not_printed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    write_video(good, grey_levels(4))
    bad.write_bytes(b"no video")
    assert call_in_new_process(open_unreadable_file_while_another_is_read, str(good), str(bad)) == "''\n"
