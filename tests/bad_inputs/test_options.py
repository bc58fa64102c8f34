"""Options with values out of range, for every command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bad_inputs.commands import Console
from tests.bad_inputs.test_tables import sweep

NUMBERS = {
    "--val": ("0", "1", "-0.1", "1.5", "nan", "inf", "x", ""),
    "--test": ("0", "1", "-0.1", "1.5", "nan", "-inf", "x", ""),
    "--folds": ("0", "1", "-3", "99", "2.5", "x"),
    "--seed": ("x", "1.5", ""),
    "--few-groups": ("x", ""),
}


@pytest.mark.parametrize(("option", "value"), [(option, value) for option in NUMBERS for value in NUMBERS[option]])
def test_split_refuses_the_option(console: Console, clips: Path, option: str, value: str) -> None:
    console.refuses("", "data", "split", clips, "--out", "new.csv", f"{option}={value}")


STORE = {
    "--frames": ("0", "-1", "1025", "1e3", "x", ""),
    "--short-side": ("0", "-1", "15", "99999", "x"),
    "--workers": ("0", "-1", "1.5", "x"),
    "--seconds-per-clip": ("0", "-1", "nan", "x"),
}


@pytest.mark.parametrize("command", ["audit", "groups", "split"])
@pytest.mark.parametrize(("option", "value"), [(option, value) for option in STORE for value in STORE[option]])
def test_store_options_are_refused(console: Console, clips: Path, command: str, option: str, value: str) -> None:
    groups = ["--groups", "auto"] if command == "split" else []
    out = "new" if command == "audit" else "new.csv"
    console.refuses("", "data", command, clips, "--out", out, *groups, f"{option}={value}")


AUDIT = [
    ("--min-seconds=-1", "min_seconds"),
    ("--min-seconds=nan", "min_seconds"),
    ("--min-seconds=inf", "min_seconds"),
    ("--min-seconds=61", "at least 61 s"),
    ("--max-seconds=0.5", "at most 0.5 s"),
    ("--max-seconds=inf", "max_seconds"),
    ("--max-seconds=-1", "max_seconds"),
    ("--max-seconds=x", "invalid float"),
    ("--frames=1", "keep 2 frames or more"),
]


@pytest.mark.parametrize(("option", "message"), AUDIT)
def test_audit_refuses_the_option(console: Console, clips: Path, option: str, message: str) -> None:
    console.refuses(message, "data", "audit", clips, "--out", "new", option)


DEMO = ["--classes=1", "--classes=0", "--classes=11", "--classes=-2", "--classes=x", "--clips-per-class=0"]
DEMO += ["--clips-per-class=-1", "--clips-per-class=x", "--clips-per-class=1", "--seed=x"]


@pytest.mark.parametrize("option", DEMO)
def test_demo_refuses_the_option(console: Console, option: str) -> None:
    console.refuses("", "data", "demo", "--out", "new", option)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--classes=0"], "--classes 0: give 1 or more"),
        (["list", "--classes=-1"], "--classes -1"),
        (["list", "--classes=x"], "invalid int"),
        (["fetch"], "required"),
        (["fetch", "resnet"], "did you mean"),
        (["fetch", ""], "an argument is empty"),
        (["fetch", ":imagenet"], "no architecture is called ''"),
        (["fetch", "resnet18:"], ""),
        (["fetch", "resnet18:imagenet:x"], "no weights"),
        (["fetch", "resnet18:../x"], "no weights"),
        (["fetch", "c3d"], ""),
        (["fetch", "resnet18", "--weights-dir", "small.yaml"], ""),
        (["nothing"], "invalid choice"),
        ([], "required"),
    ],
)
def test_models_refuses_the_arguments(console: Console, arguments: list[str], message: str) -> None:
    console.refuses(message, "models", *arguments)


SWEEP = [
    (["--folds=1"], "folds is 1"),
    (["--folds=-1"], "data.folds"),
    (["--folds=x"], "invalid int"),
    (["--folds=99"], "folds"),
    (["--few-groups=x"], "invalid choice"),
    (["--weights-dir="], "--weights-dir is empty"),
    (["--address="], ""),
    (["--address=nonsense"], "is not HOST:PORT"),
    (["--address=127.0.0.1:0"], ""),
    (["--address=127.0.0.1:99999"], ""),
    (["--address=:6379"], ""),
    (["--unknown"], "--unknown"),
    (["--config=none.yaml"], "no config file 'none.yaml'"),
    (["--config=."], "no config file"),
    (["--config="], "--config is empty"),
    (["epochs"], "is not an override"),
    (["train.epochs"], "is not an override"),
    (["=3"], "is not an override"),
    (["train.epochs="], "train.epochs"),
    (["train..epochs=3"], ""),
    (["train.epochs=[[["], ""),
    (["train.epochs={a: "], ""),
    (["train=3"], "train"),
    (["train.epochs.x=3"], ""),
    (["space.arch=[]"], ""),
    (["space.arch=[nothing]"], "no architecture is called 'nothing'"),
    (["store.dir="], ""),
    (["runs_dir="], ""),
    (["runs_dir=small.yaml"], "is a file"),
    (["tracking.uri=nonsense://x"], ""),
    (["tracking.uri=sqlite:////proc/none/m.db"], ""),
]


@pytest.mark.parametrize(("arguments", "message"), SWEEP, ids=[" ".join(words) for words, _ in SWEEP])
def test_sweep_refuses_the_arguments(console: Console, clips: Path, arguments: list[str], message: str) -> None:
    console.refuses(message, *sweep(clips, *arguments))


RUN_NAMES = [
    "",
    ".",
    "..",
    "/",
    "a/b",
    "../up",
    " ",
    "a b",
    "-a",
    ".hidden",
    "ä",
    "a\nb",
    "a\0b",
    "x" * 101,
    "a\tb",
    "~",
    "*",
]


@pytest.mark.parametrize("name", RUN_NAMES)
def test_sweep_refuses_the_run_name(console: Console, clips: Path, name: str) -> None:
    console.refuses("name", *sweep(clips, f"--name={name}"))


@pytest.mark.parametrize("name", RUN_NAMES)
@pytest.mark.parametrize("command", ["evaluate", "report", "export", "predict", "app", "resume"])
def test_run_that_does_not_exist_is_refused(console: Console, command: str, name: str) -> None:
    console.refuses("", *run_words(command, name))


def run_words(command: str, run: object) -> list[object]:
    """Return the words of a command that reads a run."""
    if command == "resume":
        return ["tuning", "sweep", f"--resume={run}"]
    more = {"export": ["--out", "exported"], "predict": ["clip.mp4"]}.get(command, [])
    return ["tuning", command, f"--run={run}", *more]
