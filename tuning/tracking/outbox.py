"""Lines on their way to a receiver that may be away: kept in a file, and sent in order.

Knows neither what the lines say nor who receives them.
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
"""Seconds between two tries while the receiver is away."""
_IDLE_PAUSE = 0.5
"""Seconds after which the file is looked at again once all of it is sent."""


class Away(Exception):
    """The receiver takes nothing now: the line is sent again later. The message is one line."""


class Refused(Exception):
    """The receiver will never take this line: it is passed over. The message is one line."""


class SpoolBusy(TuningError):
    """Another process is at work on the same spool."""


@dataclass(frozen=True, slots=True)
class Spool:
    """An append-only file of lines, with how much of it was sent beside it (`.sent`) and a lock (`.lock`)."""

    file: Path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For the time of writing and sending: two senders would send lines twice.

        The end of a line that a killed process left unfinished is cut off.

        Raises:
            SpoolBusy: another process has it.
        """
        lock = FileLock(self.file.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise SpoolBusy(
                f"another process is at work on the run {str(self.file.parent)!r}: wait until it has ended"
            ) from None
        try:
            self._mend()
            yield
        finally:
            lock.release()

    def append(self, line: str) -> bool:
        """Add a line, whole or not at all; False where the disk takes no more."""
        data = line.encode() + b"\n"
        before = self.size()
        try:
            with self.file.open("ab", buffering=0) as stream:
                written = stream.write(data)
        except OSError:
            written = 0
        if written == len(data):
            return True
        self._cut(before)
        return False

    def lines(self, start: int = 0) -> Iterator[tuple[str, int]]:
        """Each whole line from an offset in bytes on, with the offset behind it."""
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
        """Bytes in the file."""
        return self.file.stat().st_size if self.file.exists() else 0

    def sent(self) -> int:
        """Bytes that were sent."""
        try:
            return min(int(self._sent_file.read_text()), self.size())
        except (FileNotFoundError, ValueError):
            return 0

    def mark_sent(self, offset: int) -> None:
        """Remember how much was sent; where the disk takes no more, what was sent is sent again by the next process."""
        part = self._sent_file.with_suffix(".part")
        with contextlib.suppress(OSError):
            part.write_text(str(offset))
            part.replace(self._sent_file)

    @property
    def _sent_file(self) -> Path:
        return self.file.with_suffix(".sent")

    def _mend(self) -> None:
        whole = 0
        for _, behind in self.lines():
            whole = behind
        self._cut(whole)
        # A machine that lost its power may have lost the last lines, but not that they were sent.
        self.mark_sent(self.sent())

    def _cut(self, size: int) -> None:
        if self.size() > size:
            os.truncate(self.file, size)


class Sender:
    """Sends a spool's lines in order, each until it is taken; on a thread of its own, or here and now."""

    def __init__(self, spool: Spool, send: Callable[[str], None], receiver: str) -> None:
        """Take what is to be sent and the way.

        Args:
            spool: the lines; this process has it `alone`.
            send: sends one line; raises Away or Refused. A line may be given to it twice.
            receiver: its name for people.
        """
        self.spool, self.send, self.receiver = spool, send, receiver
        self._offset = spool.sent()
        self._ended = threading.Event()
        self._refused = False
        self._fault: Exception | None = None

    def left(self) -> int:
        """Lines that are yet to be sent."""
        return sum(1 for _ in self.spool.lines(self._offset))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send on a thread of its own; at the end the line on its way is waited for, the rest stays."""
        self._ended.clear()
        thread = threading.Thread(target=self._work, name="spool", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
        if self._fault is not None:
            raise self._fault

    def send_all(self, patience: float) -> str:
        """Send what is left, from the calling thread.

        Args:
            patience: seconds to wait for a receiver that is away; counted anew whenever it takes a line.

        Returns:
            Why lines are left; empty if all were sent.
        """
        self._ended.clear()
        pause, reached, deadline = _FIRST_PAUSE, self._offset, time.monotonic() + patience
        while True:
            try:
                self._send_pending()
                return ""
            except Away as error:
                if self._offset > reached:
                    pause, reached, deadline = _FIRST_PAUSE, self._offset, time.monotonic() + patience
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return str(error)
                if pause == _FIRST_PAUSE:
                    self._tell(f"waiting up to {remaining:.0f} s for {self.receiver} ({error})")
                time.sleep(min(pause, remaining))
                pause *= 2

    def _work(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            try:
                self._send_pending()
                if pause > _IDLE_PAUSE:
                    self._tell(f"{self.receiver} answers again")
                pause = _IDLE_PAUSE
            except Away as error:
                if pause <= _IDLE_PAUSE:
                    self._tell(f"{self.receiver} is away; all goes on, and what it misses is kept ({error})")
                pause = min(2 * max(pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            except Exception as error:
                self._fault = error
                return

    def _send_pending(self) -> None:
        for line, behind in self.spool.lines(self._offset):
            if self._ended.is_set():
                return
            try:
                self.send(line)
            except Refused as error:
                if not self._refused:
                    self._tell(f"{self.receiver} refuses what it is sent, for one: {error}")
                self._refused = True
            self._offset = behind
            self.spool.mark_sent(behind)

    def _tell(self, what: str) -> None:
        print(f"note: {what}", flush=True)
