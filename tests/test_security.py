"""Loaded files can't run code, servers listen on this machine only, names can't point outside their folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from data.dataset.clips import read_groups, scan_clips
from data.dataset.split_check import fit_split
from data.dataset.splits import read_split
from data.dataset.video_files import list_folder
from data.errors import DataError
from tests.helpers.processes import PROJECT
from tuning.__main__ import parse
from tuning.config.load import parse_config
from tuning.config.redact import redact_message, redact_uri
from tuning.errors import ConfigError
from tuning.evaluation.confusion_png import write_confusion_png
from tuning.tracking.server import ui_command

PACKAGES = ("data", "models", "tuning", "benchmarks")

UNSAFE = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "joblib.load",
    "marshal.load",
    "marshal.loads",
    "shelve.open",
    "yaml.full_load",
    "yaml.unsafe_load",
    "pandas.read_pickle",
    "pd.read_pickle",
    "eval",
    "exec",
    "os.system",
}


def unsafe_calls(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "joblib", "marshal", "shelve"):
            yield f"line {node.lineno}: from {node.module} import"
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        safe = {
            "torch.load": given.get("weights_only") == "True",
            "np.load": given.get("allow_pickle", "False") == "False",
            "numpy.load": given.get("allow_pickle", "False") == "False",
            "yaml.load": given.get("Loader", "").endswith("SafeLoader"),
            "torch.hub.load_state_dict_from_url": given.get("weights_only") == "True",
        }.get(name, name not in UNSAFE and given.get("shell", "False") == "False")
        if not safe:
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_package_calls_nothing_that_could_run_loaded_code(package: str) -> None:
    files = sorted((PROJECT / package).glob("**/*.py"))
    assert files
    assert {file: found for file in files if (found := list(unsafe_calls(file.read_text())))} == {}


@pytest.mark.parametrize(
    "call",
    [
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "pickle.loads(b)",
        "from pickle import load",
        "yaml.load(s, Loader=yaml.Loader)",
        "subprocess.run(s, shell=True)",
    ],
)
def test_unsafe_calls_are_detected(call: str) -> None:
    assert len(list(unsafe_calls(call))) == 1
    assert list(unsafe_calls("torch.load(f, weights_only=True)\nnp.load(f)\nyaml.safe_load(s)")) == []


def test_servers_listen_on_this_machine_only_by_default() -> None:
    args = parse(["ui"])
    command, _ = ui_command("sqlite:///x.db", args.host, args.port)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    for file in sorted(PROJECT.glob("cluster*.yaml")):
        commands = yaml.safe_load(file.read_text())["head_start_ray_commands"]
        hosts = [word.partition("=")[2] for line in commands for word in line.split() if "dashboard-host" in word]
        assert set(hosts) <= {"127.0.0.1"}, file


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://anna:geheim@host:5000/x", "https://host:5000/x"),
        ("https://t0k3n@host", "https://host"),
        ("http://host/a@b", "http://host/a@b"),
        ("postgresql+psycopg2://anna:pa/ss?w@host/db", "postgresql+psycopg2://anna@host/db"),
        ("postgresql://anna@host/db?sslmode=require&password=geheim", "postgresql://anna@host/db?sslmode=require"),
        ("postgresql://host/db?password=geheim&sslmode=require", "postgresql://host/db?sslmode=require"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dgeheim", "mssql+pyodbc:///"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////home/a@b:c/mlflow.db", "sqlite:////home/a@b:c/mlflow.db"),
        ("sqlite:////home/a&token=b/mlflow.db", "sqlite:////home/a&token=b/mlflow.db"),
    ],
)
def test_address_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    assert redact_uri(uri) == shown
    assert redact_uri(shown) == shown


def test_messages_are_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef")
    uri = "postgresql://anna:geheim@host/db"
    text = redact_message(f"can't connect to {uri} (anna, geheim, 0123456789abcdef)", uri)
    assert text == "can't connect to postgresql://anna@host/db (anna, ***, ***)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "../up"}, "name is '../up'"),
        ({"name": "a\n"}, r"name is 'a\n'"),
        ({"name": "a" * 101}, "at most 100 characters"),
        ({"tracking": {"model_name": "a/b"}}, "tracking.model_name is 'a/b'"),
        ({"tracking": {"model_name": "a\nb"}}, r"tracking.model_name is 'a\nb'"),
        ({"tracking": {"model_name": "x' or name = 'y"}}, "tracking.model_name is"),
        ({"tracking": {"model_name": "a" * 201}}, "at most 200 characters"),
        ({"tracking": {"experiment": "a\x1b[2J"}}, r"tracking.experiment is 'a\x1b[2J'"),
        ({"tracking": {"uri": "https://anna:geheim@host"}}, "tracking: uri contains a password or token"),
    ],
)
def test_unsafe_name_or_password_in_the_settings_raises(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(settings)
    assert message in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("dip/1", "dip/2", "squat/3", "squat/4"):
        file = tmp_path / f"clips/{name}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/5.mp4").touch()
    return tmp_path / "clips"


def split_file(folder: Path, first: str) -> Path:
    rows = [f"{first},dip,a,train", "dip/2.mp4,dip,b,val", "squat/3.mp4,squat,c,train", "squat/4.mp4,squat,d,test"]
    file = folder.parent / "split.csv"
    file.write_text("\n".join(["path,label,group,split", *rows]) + "\n")
    return file


@pytest.mark.parametrize("path", ["../outside/5.mp4", "/etc/passwd", "dip/../../outside/5.mp4", "dip\\..\\..\\5.mp4"])
def test_split_with_a_path_outside_the_folder_raises(folder: Path, path: str) -> None:
    with pytest.raises(DataError, match="is outside the data folder"):
        read_split(split_file(folder, path))


def test_split_with_a_hidden_file_raises(folder: Path) -> None:
    """Links in the folder are clips like others; files that a scan ignores are not."""
    (folder / "dip/linked").symlink_to(folder.parent / "outside")
    (folder / "dip/.hidden").symlink_to(folder.parent / "outside")
    found = list_folder(folder).videos
    fit_split(read_split(split_file(folder, "dip/linked/5.mp4")), folder, found)
    with pytest.raises(DataError, match=r"not in '.*', the first is 'dip/.hidden/5.mp4'"):
        fit_split(read_split(split_file(folder, "dip/.hidden/5.mp4")), folder, found)


def test_groups_of_files_outside_the_folder_are_only_reported(folder: Path) -> None:
    groups = folder.parent / "groups.csv"
    inside = [f"{clip.path},{clip.path}" for clip in scan_clips(folder).clips]
    groups.write_text("\n".join(["path,group", *inside, "../outside/5.mp4,x", "/etc/passwd,x"]) + "\n")
    found = scan_clips(folder, read_groups(str(groups)))
    assert found.unmatched_groups == ("../outside/5.mp4", "/etc/passwd")
    assert len(found.clips) == 4


def test_confusion_matrix_accepts_any_class_name(tmp_path: Path) -> None:
    classes = ("$\\frac$", "../x", "a" * 255)
    write_confusion_png(np.eye(3, dtype=int).tolist(), classes, "test", tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
