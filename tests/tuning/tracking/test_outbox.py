from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tuning.tracking.outbox import Away, Refused, Sender, Spool, SpoolBusy


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "told.jsonl")


class Receiver:
    """Takes lines, except while it is away."""

    def __init__(self, away: int = 0, refused: str = "") -> None:
        self.got: list[str] = []
        self.away, self.refused = away, refused

    def take(self, line: str) -> None:
        if self.away:
            self.away -= 1
            raise Away("nobody there")
        if line == self.refused:
            raise Refused("no such run")
        self.got.append(line)


def fill(spool: Spool, *lines: str) -> None:
    for line in lines:
        assert spool.append(line)


def test_lines_are_sent_in_order_and_once_over_several_processes(spool: Spool) -> None:
    first, second = Receiver(), Receiver()
    with spool.alone():
        fill(spool, "a", "b", "ä ☃")
        assert Sender(spool, first.take, "it").send_all(0) == ""
    with spool.alone():
        fill(spool, "c", "d")
        sender = Sender(spool, second.take, "it")
        assert sender.left() == 2
        assert sender.send_all(0) == ""
        assert sender.left() == 0
    assert first.got == ["a", "b", "ä ☃"]
    assert second.got == ["c", "d"]


def test_what_is_written_while_the_thread_sends_is_sent_too(spool: Spool) -> None:
    receiver = Receiver(away=1)
    with spool.alone():
        sender = Sender(spool, receiver.take, "it")
        with sender.running():
            fill(spool, *map(str, range(50)))
            while sender.left():
                pass
    assert receiver.got == list(map(str, range(50)))


def test_who_is_away_gets_all_of_it_later(spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    receiver = Receiver(away=2)
    with spool.alone():
        fill(spool, "a", "b")
        sender = Sender(spool, receiver.take, "the store")
        assert sender.send_all(0) == "nobody there"
        assert (sender.left(), receiver.got) == (2, [])
        assert sender.send_all(30) == ""
    assert receiver.got == ["a", "b"]
    assert capsys.readouterr().out == "note: waiting up to 30 s for the store (nobody there)\n"


def test_a_line_that_is_refused_holds_up_no_other(spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    receiver = Receiver(refused="b")
    with spool.alone():
        fill(spool, "a", "b", "c", "b", "d")
        assert Sender(spool, receiver.take, "the store").send_all(0) == ""
    assert receiver.got == ["a", "c", "d"]
    assert capsys.readouterr().out == "note: the store refuses what it is sent, for one: no such run\n"


def test_a_fault_of_ours_is_not_taken_for_an_absence(spool: Spool) -> None:
    called = threading.Event()

    def send(line: str) -> None:
        called.set()
        raise KeyError(line)

    with spool.alone():
        fill(spool, "a")
        sender = Sender(spool, send, "it")
        with pytest.raises(KeyError):
            sender.send_all(30)
        called.clear()
        with pytest.raises(KeyError), sender.running():
            called.wait(30)
        assert sender.left() == 1


def test_half_a_line_of_a_killed_process_is_cut_off(spool: Spool) -> None:
    with spool.alone():
        fill(spool, "a", "b")
    with spool.file.open("a") as stream:
        stream.write('{"what": "epo')
    assert [line for line, _ in spool.lines()] == ["a", "b"]
    receiver = Receiver()
    with spool.alone():
        fill(spool, "c")
        assert Sender(spool, receiver.take, "it").send_all(0) == ""
    assert receiver.got == ["a", "b", "c"]
    assert spool.file.read_text() == "a\nb\nc\n"


@pytest.mark.parametrize("record", ["", "x", "999"])
def test_a_lost_record_of_what_was_sent_loses_no_line(spool: Spool, record: str) -> None:
    with spool.alone():
        fill(spool, "a", "b")
        Sender(spool, Receiver().take, "it").send_all(0)
    spool.file.with_suffix(".sent").write_text(record)
    receiver = Receiver()
    with spool.alone():
        fill(spool, "c")
    with spool.alone():
        assert Sender(spool, receiver.take, "it").send_all(0) == ""
    assert receiver.got[-1:] == ["c"]


def test_a_full_disk_takes_no_half_lines(spool: Spool) -> None:
    """The limit on file sizes stands for the disk's end: writes stop in the middle of a line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        fill(spool, "short")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
        assert not spool.append("a line that is longer than what is left")
        assert spool.append("fits")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert spool.file.read_text() == "short\nfits\n"


def test_one_process_at_a_time(spool: Spool) -> None:
    script = f"""
from pathlib import Path
from tuning.tracking.outbox import Spool
with Spool(Path({str(spool.file)!r})).alone():
    print("has it", flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "has it\n"
    with pytest.raises(SpoolBusy, match=f"at work on the run '{spool.file.parent}'"), spool.alone():
        pass
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with spool.alone():
        pass
