"""The outbox on disk and its sender, with a receiver in the same process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tuning.tracking.outbox import LineRejected, Outbox, OutboxLocked, OutboxSender, ReceiverUnavailable


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "events.jsonl")


class Receiver:
    """Receives lines: it is unavailable for the first ones, and rejects one."""

    def __init__(self, failures: int = 0, rejected: str = "") -> None:
        self.received: list[str] = []
        self.failures, self.rejected = failures, rejected

    def receive(self, line: str) -> None:
        if self.failures:
            self.failures -= 1
            raise ReceiverUnavailable("connection refused")
        if line == self.rejected:
            raise LineRejected("no such run")
        self.received.append(line)


def fill(outbox: Outbox, *lines: str) -> None:
    for line in lines:
        assert outbox.append(line)


def test_lines_are_sent_once_and_in_order_across_processes(outbox: Outbox) -> None:
    first, second = Receiver(), Receiver()
    with outbox.lock():
        fill(outbox, "a", "b", "ä ☃")
        assert OutboxSender(outbox, first.receive, "the store").send_all(0) == ""
    with outbox.lock():
        fill(outbox, "c", "d")
        sender = OutboxSender(outbox, second.receive, "the store")
        assert sender.count_pending() == 2
        assert sender.send_all(0) == ""
        assert sender.count_pending() == 0
    assert first.received == ["a", "b", "ä ☃"]
    assert second.received == ["c", "d"]


def test_lines_appended_while_the_thread_sends_are_sent(outbox: Outbox) -> None:
    receiver, all_received = Receiver(failures=1), threading.Event()

    def receive(line: str) -> None:
        receiver.receive(line)
        if line == "49":
            all_received.set()

    with outbox.lock():
        sender = OutboxSender(outbox, receive, "the store")
        with sender.running():
            fill(outbox, *map(str, range(50)))
            assert all_received.wait(60)
        assert sender.count_pending() == 0
    assert receiver.received == list(map(str, range(50)))


def test_unavailable_receiver_gets_all_lines_later(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    receiver = Receiver(failures=2)
    with outbox.lock():
        fill(outbox, "a", "b")
        sender = OutboxSender(outbox, receiver.receive, "the store")
        assert sender.send_all(0) == "connection refused"
        assert (sender.count_pending(), receiver.received) == (2, [])
        assert sender.send_all(30) == ""
    assert receiver.received == ["a", "b"]
    assert capsys.readouterr().out == "note: waiting up to 30 s for the store (connection refused)\n"


def test_rejected_line_is_skipped(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    receiver = Receiver(rejected="b")
    with outbox.lock():
        fill(outbox, "a", "b", "c", "b", "d")
        assert OutboxSender(outbox, receiver.receive, "the store").send_all(0) == ""
    assert receiver.received == ["a", "c", "d"]
    assert capsys.readouterr().out == "note: the store rejects events, which are skipped; the first: no such run\n"


def test_unexpected_error_is_raised_and_nothing_is_skipped(outbox: Outbox) -> None:
    called = threading.Event()

    def send(line: str) -> None:
        called.set()
        raise KeyError(line)

    with outbox.lock():
        fill(outbox, "a")
        sender = OutboxSender(outbox, send, "the store")
        with pytest.raises(KeyError):
            sender.send_all(30)
        called.clear()
        with pytest.raises(KeyError), sender.running():
            called.wait(30)
        assert sender.count_pending() == 1


def test_unfinished_line_of_a_killed_process_is_removed(outbox: Outbox) -> None:
    with outbox.lock():
        fill(outbox, "a", "b")
    with outbox.file.open("a") as stream:
        stream.write('{"what": "epo')
    assert [line for line, _ in outbox.lines()] == ["a", "b"]
    receiver = Receiver()
    with outbox.lock():
        fill(outbox, "c")
        assert OutboxSender(outbox, receiver.receive, "the store").send_all(0) == ""
    assert receiver.received == ["a", "b", "c"]
    assert outbox.file.read_text() == "a\nb\nc\n"


@pytest.mark.parametrize("record", ["", "x", "999"])
def test_lost_or_wrong_record_of_sent_bytes_loses_no_line(outbox: Outbox, record: str) -> None:
    with outbox.lock():
        fill(outbox, "a", "b")
        OutboxSender(outbox, Receiver().receive, "the store").send_all(0)
    outbox.file.with_suffix(".sent").write_text(record)
    receiver = Receiver()
    with outbox.lock():
        fill(outbox, "c")
    with outbox.lock():
        assert OutboxSender(outbox, receiver.receive, "the store").send_all(0) == ""
    assert receiver.received[-1:] == ["c"]


def test_full_disk_leaves_no_partial_line(outbox: Outbox) -> None:
    """A limit on file sizes simulates a full disk: a write stops in the middle of a line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        fill(outbox, "short")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
        assert not outbox.append("a line that is longer than what is left")
        assert outbox.append("fits")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert outbox.file.read_text() == "short\nfits\n"


def test_second_process_is_refused_until_the_first_ends(outbox: Outbox) -> None:
    script = f"""
from pathlib import Path
from tuning.tracking.outbox import Outbox
with Outbox(Path({str(outbox.file)!r})).lock():
    print("locked", flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(OutboxLocked, match=f"another process works on the run '{outbox.file.parent}'"), outbox.lock():
        pass
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with outbox.lock():
        pass
