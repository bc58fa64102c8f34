"""The address of MLflow, and whether it responds."""

from __future__ import annotations

import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.helpers.awkward_names import AWKWARD_FOLDER, ESCAPED_FOLDER
from tuning.config.redact import redact_uri
from tuning.config.schema.tracking import TrackingConfig
from tuning.tracking.server import (
    TrackingError,
    check_reachable,
    database_file,
    mlflow_client,
    resolve_uri,
    ui_command,
)


def test_uri_is_the_setting_else_the_environment_else_a_local_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from.environment")
    assert resolve_uri(TrackingConfig(uri="http://configured"), tmp_path) == "http://configured"
    assert resolve_uri(TrackingConfig(), tmp_path) == "http://from.environment"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_uri(TrackingConfig(), tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    "uri",
    [
        *("sqlite:////tmp/a/m.db", "sqlite+pysqlite:////tmp/a%20b/m.db?timeout=5", "sqlite:///m.db", "sqlite://"),
        *("sqlite:///:memory:", "postgresql://host/name", "http://host:5000", "file:///tmp/a"),
    ],
)
def test_database_file_is_the_one_that_sqlalchemy_opens(uri: str) -> None:
    opened = make_url(uri).database if uri.startswith("sqlite") else None
    assert database_file(uri) == (None if opened in (None, "", ":memory:") else Path(opened))


def test_database_in_a_folder_with_any_name_is_where_it_should_be(tmp_path: Path) -> None:
    for name in (AWKWARD_FOLDER, ESCAPED_FOLDER, "a b", "ü:@"):
        runs = tmp_path / name / "runs"
        uri = resolve_uri(TrackingConfig(), runs)
        assert make_url(uri).database == str(runs / "mlflow.db")
        assert database_file(uri) == runs / "mlflow.db"
        assert redact_uri(uri) == uri


def test_mlflow_writes_nothing_outside_a_folder_with_an_escaped_name(tmp_path: Path) -> None:
    runs = tmp_path / ESCAPED_FOLDER / "runs"
    runs.mkdir(parents=True)
    client = mlflow_client(resolve_uri(TrackingConfig(), runs))
    run = client.create_run(client.create_experiment("any", (runs / "artifacts").as_uri()))
    client.log_text(run.info.run_id, "text", "below/file.txt")
    assert [path.name for path in tmp_path.iterdir()] == [ESCAPED_FOLDER]
    assert [path.name for path in (tmp_path / ESCAPED_FOLDER).iterdir()] == ["runs"]
    assert (runs / "mlflow.db").is_file()
    assert [path.read_text() for path in (runs / "artifacts").rglob("file.txt")] == ["text"]


def test_unreachable_server_raises_with_its_address(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="^no MLflow server responds at http://127.0.0.1:9 .*Connection refused"):
        check_reachable("http://127.0.0.1:9")
    check_reachable(f"sqlite:///{tmp_path}/mlflow.db")


def test_password_is_neither_in_messages_nor_on_the_command_line() -> None:
    uri = "http://anna:geheim99@127.0.0.1:9/mlflow"
    with pytest.raises(TrackingError, match="at http://127.0.0.1:9/mlflow "):
        check_reachable(uri)
    command, environment = ui_command(uri, "127.0.0.1", 5000)
    assert "geheim99" not in " ".join(command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri


@pytest.fixture
def server() -> Iterator[AnyAnswer]:
    """A server or proxy on this machine that answers every request alike."""
    with AnyAnswer(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class AnyAnswer(http.server.ThreadingHTTPServer):
    status, body, asked = 200, b"OK", ""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: AnyAnswer

    def do_GET(self) -> None:
        self.server.asked = self.path
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


def test_server_on_this_machine_is_asked_directly(server: AnyAnswer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    check_reachable(server.url)
    assert server.asked == "/health"


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_server_that_refuses_the_check_responds(server: AnyAnswer, status: int) -> None:
    """One behind a login, or at another path."""
    server.status = status
    check_reachable(server.url)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_gateway_without_its_server_does_not_count(server: AnyAnswer, status: int) -> None:
    server.status = status
    with pytest.raises(TrackingError, match=rf"^no MLflow server responds at {server.url} \(HTTP {status} "):
        check_reachable(server.url)


def test_server_that_speaks_no_http_does_not_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def greet() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(TrackingError, match=f"^no MLflow server responds at {uri} "):
            check_reachable(uri)
        thread.join()


@pytest.fixture
def proxy(server: AnyAnswer, monkeypatch: pytest.MonkeyPatch) -> AnyAnswer:
    """The server as the proxy for all hosts but this machine."""
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//anna:geheim99@"))
    monkeypatch.setenv("no_proxy", "")
    return server


@pytest.mark.parametrize(
    ("status", "body"), [(502, b"<html>"), (403, b"<html>"), (407, b""), (404, b"OK"), (200, b"<html>sign in</html>")]
)
def test_answer_of_a_proxy_is_not_taken_for_the_servers(proxy: AnyAnswer, status: int, body: bytes) -> None:
    proxy.status, proxy.body = status, body
    with pytest.raises(TrackingError) as caught:
        check_reachable("http://mlflow.lab:5000")
    assert proxy.asked == "http://mlflow.lab:5000/health"
    message = str(caught.value)
    assert message.startswith(
        "no MLflow server responds at http://mlflow.lab:5000 ("
        + ("the answer is not MLflow's" if status == 200 else f"HTTP {status} ")
    )
    assert f", through the proxy {proxy.url}; add mlflow.lab to no_proxy to ask it directly)" in message
    assert "geheim99" not in message
    assert "\n" not in message


@pytest.mark.parametrize(("status", "body"), [(200, b"OK"), (200, b"OK\n"), (401, b"<html>sign in</html>")])
def test_answer_through_a_proxy_is_accepted(proxy: AnyAnswer, status: int, body: bytes) -> None:
    proxy.status, proxy.body = status, body
    check_reachable("http://mlflow.lab:5000")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_does_not_respond_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(
        TrackingError,
        match=r"Errno \d+\] Connection refused, through the proxy http://127.0.0.1:9; add mlflow.lab to no",
    ):
        check_reachable(f"{scheme}://mlflow.lab")


def test_socks_proxy_without_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"PySocks is not installed, through the proxy socks5://127.0.0.1:9;"):
        check_reachable("http://mlflow.lab")
