"""An outbox of text lines: a file to which lines are appended, and from which they are sent in order.

The receiver may be unavailable for a while. This module knows neither what the lines mean nor who receives them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tuning.errors import TuningError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
"""Seconds between two attempts while the receiver is unavailable; doubled after each attempt."""
_IDLE_PAUSE = 0.5
"""Seconds between two checks for new lines once all lines are sent."""


class ReceiverUnavailable(Exception):
    """The receiver can't take the line now: send it again later. The message is one line."""


class LineRejected(Exception):
    """The receiver will never take this line: skip it. The message is one line."""


class OutboxLocked(TuningError):
    """Another process writes to the same outbox."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """An append-only file of lines. The number of bytes sent is in a `.sent` file, the lock in a `.lock` file."""

    file: Path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the outbox for one process, since two senders would send lines twice.

        An unfinished last line, left by a killed process, is removed.

        Raises:
            OutboxLocked: another process holds it.
        """
        lock = FileLock(self.file.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise OutboxLocked(
                f"another process works on the run {str(self.file.parent)!r}; wait until it has ended"
            ) from None
        try:
            self._repair()
            yield
        finally:
            lock.release()

    def append(self, line: str) -> bool:
        """Append a line, completely or not at all; return False if the disk is full."""
        data = line.encode() + b"\n"
        size = self.size()
        try:
            with self.file.open("ab", buffering=0) as stream:
                written = stream.write(data)
        except OSError:
            written = 0
        if written == len(data):
            return True
        self._truncate(size)
        return False

    def lines(self, start: int = 0) -> Iterator[tuple[str, int]]:
        """Yield each complete line from byte offset `start` on, with the offset of its end."""
        if not self.file.exists():
            return
        with self.file.open("rb") as stream:
            stream.seek(start)
            for data in stream:
                if not data.endswith(b"\n"):
                    return
                start += len(data)
                yield data[:-1].decode(), start

    def size(self) -> int:
        """Return the size of the file in bytes."""
        return self.file.stat().st_size if self.file.exists() else 0

    def sent(self) -> int:
        """Return the number of bytes sent so far."""
        try:
            return min(int(self._sent_file.read_text()), self.size())
        except (FileNotFoundError, ValueError):
            return 0

    def mark_sent(self, offset: int) -> None:
        """Save the number of bytes sent. If the disk is full, the next process sends the lines since then again."""
        temporary = self._sent_file.with_suffix(".part")
        with contextlib.suppress(OSError):
            temporary.write_text(str(offset))
            temporary.replace(self._sent_file)

    @property
    def _sent_file(self) -> Path:
        return self.file.with_suffix(".sent")

    def _repair(self) -> None:
        complete = 0
        for _, end in self.lines():
            complete = end
        self._truncate(complete)
        # A power failure may lose the last lines but not the record that they were sent.
        self.mark_sent(self.sent())

    def _truncate(self, size: int) -> None:
        if self.size() > size:
            os.truncate(self.file, size)


class OutboxSender:
    """Sends the lines of an outbox in order, each until it is taken, in a background thread or in the calling one."""

    def __init__(self, outbox: Outbox, send: Callable[[str], None], receiver: str) -> None:
        """Create a sender.

        Args:
            outbox: the lines; this process holds its lock.
            send: sends one line; raises ReceiverUnavailable or LineRejected. It may get a line twice.
            receiver: the receiver's name for messages.
        """
        self.outbox, self.send, self.receiver = outbox, send, receiver
        self._offset = outbox.sent()
        self._stopped = threading.Event()
        self._rejected_before = False
        self._error: Exception | None = None

    def count_pending(self) -> int:
        """Return the number of lines not sent yet."""
        return sum(1 for _ in self.outbox.lines(self._offset))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send from a background thread. On exit wait for the line being sent; later lines stay pending."""
        self._stopped.clear()
        thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()
        if self._error is not None:
            raise self._error

    def send_all(self, patience: float) -> str:
        """Send all pending lines from the calling thread.

        Args:
            patience: seconds to wait for a receiver that is unavailable, counted again after each line it takes.

        Returns:
            Why lines are still pending; empty if all were sent.
        """
        self._stopped.clear()
        pause, reached, deadline = _FIRST_PAUSE, self._offset, time.monotonic() + patience
        while True:
            try:
                self._send_pending()
                return ""
            except ReceiverUnavailable as error:
                if self._offset > reached:
                    pause, reached, deadline = _FIRST_PAUSE, self._offset, time.monotonic() + patience
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return str(error)
                if pause == _FIRST_PAUSE:
                    _print_note(f"waiting up to {remaining:.0f} s for {self.receiver} ({error})")
                time.sleep(min(pause, remaining))
                pause *= 2

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            try:
                self._send_pending()
                if pause > _IDLE_PAUSE:
                    _print_note(f"{self.receiver} responds again")
                pause = _IDLE_PAUSE
            except ReceiverUnavailable as error:
                if pause <= _IDLE_PAUSE:
                    _print_note(
                        f"{self.receiver} is unavailable; the run continues and sends its events later ({error})"
                    )
                pause = min(2 * max(pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            except Exception as error:
                self._error = error
                return

    def _send_pending(self) -> None:
        for line, end in self.outbox.lines(self._offset):
            if self._stopped.is_set():
                return
            try:
                self.send(line)
            except LineRejected as error:
                if not self._rejected_before:
                    _print_note(f"{self.receiver} rejects events, which are skipped; the first: {error}")
                self._rejected_before = True
            self._offset = end
            self.outbox.mark_sent(end)


def _print_note(text: str) -> None:
    print(f"note: {text}", flush=True)
