"""The folder and the token with which Ray starts on this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tuning.cluster import local_ray
from tuning.cluster.address import ClusterError
from tuning.cluster.local_ray import local_address, provide_token, ray_folder, short_tmpdir


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        # Set first: monkeypatch restores only what it changed.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_folder_is_the_one_that_ray_would_take(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ray_folder() == Path("/tmp/ray")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv(variable, folder)
        assert ray_folder() == Path(folder, "ray")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_folder_that_sockets_do_not_fit_into_is_replaced(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    socket_path = f"/ray/session_2026-11-29_14-57-19_123456_{os.getpid()}/sockets/plasma_store"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        for extra in (0, 1):
            path = Path(folder, "x" * (107 - len(socket_path) + extra - len(folder) - 1))
            path.mkdir()
            assert len(f"{path}{socket_path}") == 107 + extra
            monkeypatch.setenv(variable, str(path))
            assert ray_folder() == (Path("/tmp/ray") if extra else path / "ray")
        (note,) = capsys.readouterr().out.splitlines()
        assert note.startswith(f"note: Ray's files go to /tmp/ray: '{path}' ({variable}) is longer than the ")
        assert list(path.iterdir()) == []


@pytest.mark.parametrize("character", "[*?")
def test_folder_that_ray_would_take_for_a_pattern_is_replaced(
    character: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix=character) as folder:
        monkeypatch.setenv("TMPDIR", folder)
        assert ray_folder() == Path("/tmp/ray")
    assert "(TMPDIR) has one of the characters *, ? and [" in capsys.readouterr().out


def test_folder_that_can_not_be_written_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", "/proc")
    assert ray_folder() == Path("/tmp/ray")
    assert "note: Ray's files go to /tmp/ray: '/proc' (TMPDIR) can't be written (" in capsys.readouterr().out


def test_no_usable_folder_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 100)))
    monkeypatch.setattr(local_ray, "_other_folders", lambda: [Path("/proc/ray")])
    with pytest.raises(
        ClusterError, match=r"^Ray can't be started here: .* is longer than .*; set RAY_TMPDIR to "
    ) as caught:
        ray_folder()
    assert "\n" not in str(caught.value)


def test_workers_get_a_temporary_folder_that_loader_sockets_fit_into(monkeypatch: pytest.MonkeyPatch) -> None:
    assert short_tmpdir(Path("/tmp/ray")) == {}
    socket_path = "/pymp-2w9wn5e1/listener-q0m3c4hd"
    for length, expected in ((107, {}), (108, {"TMPDIR": "/tmp"})):
        monkeypatch.setenv("TMPDIR", "/" + "x" * (length - len(socket_path) - 1))
        assert short_tmpdir(Path("/tmp/ray")) == expected


def token_set() -> bool:
    provide_token()
    return "RAY_AUTH_TOKEN" in os.environ


def test_token_is_provided_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc")
    assert token_set()
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    provide_token()
    assert os.environ["RAY_AUTH_TOKEN"] == token
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.delenv("HOME")
    assert token_set()


def test_token_is_not_provided_where_ray_has_or_stores_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not token_set()
    (tmp_path / ".ray").mkdir(exist_ok=True)
    (tmp_path / ".ray/auth_token").write_text("secret")
    assert not token_set()
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / ".ray/auth_token"))
    assert not token_set()
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert not token_set()


def test_processes_find_each_other_by_ipv4_where_ray_finds_an_ipv6_address() -> None:
    assert local_address("192.0.2.2") is None
    assert local_address("fd00::5") == local_address("::1") == "127.0.0.2"
