"""Folders as people lay them out: every command refuses them in one line, or reads the classes that are meant."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest

import data.__main__
from data.dataset.splits import read_split
from data.errors import DataError
from tests.helpers.clip_folders import make_files
from tuning.config.load import parse_config
from tuning.errors import ConfigError
from tuning.prepare.clips import scan


def clips(*folders: str, labels: Iterable[str] = ("push up", "squat"), suffix: str = ".mp4") -> list[str]:
    """Return four files of each class in each of these folders, all with different names."""
    return [
        "/".join(filter(None, (folder, label, f"{folder.replace('/', ' ')}{number}{suffix}")))
        for folder in folders
        for label in labels
        for number in range(4)
    ]


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Liegestütz") for form in ("NFC", "NFD"))
TWO = ("push up", "squat")

REFUSED: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "no clips in 'clips'; it needs one sub-folder per class"),
    "empty folders": (["squat/", "dip/"], "no clips in 'clips'; it needs one sub-folder per class"),
    "sound": (clips("", suffix=".mp3"), "no clips in 'clips'; it needs one sub-folder per class"),
    "one class": (clips("", labels=["squat"]), "only one class in 'clips', 'squat'"),
    "flat": (["squat_1.mp4", "dip_1.mp4"], "2 videos in 'clips' and no class folders"),
    "loose video": ([*clips(""), "intro.MOV"], "1 video beside the class folders of 'clips', 'intro.MOV'"),
    "pictures": (clips("", suffix=".jpg"), "8 .jpg found, but this takes videos"),
    "frames": (clips("a", "b", suffix=".PNG"), "16 .png found, but this takes videos"),
    "archive": (["archive.zip"], "but an archive, 'archive.zip'; unzip it first"),
    "archives of classes": (["squat/squat.tar.gz", "dip/dip.7z"], "unzip it first"),
    "one too deep": (clips("archive"), "did you mean 'clips/archive'? 2 classes there (push up, squat)"),
    "two too deep": (clips("a/b"), "did you mean 'clips/a/b'? 2 classes there (push up, squat)"),
    "splits too deep": (clips("a/train", "a/test"), "did you mean 'clips/a'? 2 split folders there (test, train)"),
    "one split": (clips("train"), "did you mean 'clips/train'? 2 classes there"),
    "train and test": (clips("train", "test"), "'clips' has split folders (test, train)"),
    "three splits": (clips("train", "val", "test"), "'clips' has split folders (test, train, val)"),
    "capitals": (clips("TRAIN", "Valid", "Testing"), "'clips' has split folders (TRAIN, Testing, Valid)"),
    "plurals": (clips("trains", "validations", "tests"), "'clips' has split folders (tests, trains, validations)"),
    "prefixes": (clips("videos_train", "videos_val"), "'clips' has split folders (videos_train, videos_val)"),
    "splits in classes": (clips("squat", "dip", labels=("train", "test")), "'clips' has split folders (test, train)"),
    "unlabelled test": ([*clips("train"), "test/1.mp4"], "'clips' has split folders (test, train)"),
    "test beside classes": ([*clips(""), *clips("test")], "'test' in 'clips' looks like a split folder"),
    "case": (clips("", labels=("push Up", "Push up", "dip")), "class names look alike: 'Push up' and 'push Up'"),
    "hyphen": (clips("", labels=("push-up", "push_up", "dip")), "class names look alike: 'push-up' and 'push_up'"),
    "accents": (clips("", labels=(COMPOSED, DECOMPOSED)), "(accents coded in two ways)"),
}

READ: dict[str, tuple[list[str], dict[str, str | bool], tuple[str, ...]]] = {
    "classes": (clips(""), {}, TWO),
    "folders below": (clips("dip", "row", labels=("anna", "ben")), {}, ("dip", "row")),
    "other files": ([*clips(""), "labels.csv", "squat/notes.txt", "__MACOSX/squat/._1.mp4"], {}, TWO),
    "used": (clips("train", "val", "test"), {"split": "folders"}, TWO),
    "val is cut": (clips("Train", "Test"), {"split": "folders"}, TWO),
    "merged": (clips("TRAIN", "Valid", "tests"), {"split": "merge"}, TWO),
    "in classes": (clips("squat", "dip", labels=("train", "test")), {"split": "folders"}, ("dip", "squat")),
    "alike": (clips("", labels=("push-up", "push_up", "dip")), {"merge_classes": True}, ("dip", "push-up")),
    "alike in splits": (
        [*clips("train", labels=("dip", "Push_Up")), *clips("test", "val", labels=("Dip", "push up"))],
        {"split": "folders", "merge_classes": True},
        ("Dip", "push up"),
    ),
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    return Path("clips")


def fill(root: Path, files: list[str]) -> None:
    for name in files:
        if name.endswith("/"):
            (root / name).mkdir()
    make_files(root, *(name for name in files if not name.endswith("/")))


@pytest.mark.parametrize("layout", REFUSED)
@pytest.mark.parametrize("command", ["split --out s.csv", "audit", "groups --out g.csv --sheets g.html", "sweep"])
def test_layout_is_refused_in_one_line(
    make: Path, capsys: pytest.CaptureFixture[str], layout: str, command: str
) -> None:
    files, message = REFUSED[layout]
    fill(make, files)
    before = sorted(Path().rglob("*"))
    if command == "sweep":
        with pytest.raises(DataError) as caught:
            scan(parse_config({"data": {"dir": "clips"}}).data)
        error = f"error: {caught.value}\n"
    else:
        assert data.__main__.main([*command.split(), "clips"]) == 2
        out, error = capsys.readouterr()
        assert out == ""
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("layout", READ)
def test_layout_is_read_as_it_is_meant(make: Path, layout: str) -> None:
    files, settings, classes = READ[layout]
    fill(make, files)
    options = [*(["--split", str(settings["split"])] if "split" in settings else [])]
    options += ["--merge-classes"] if settings.get("merge_classes") else []
    assert data.__main__.main(["split", "clips", "--out", "s.csv", *options]) == 0
    split = scan(parse_config({"data": {"dir": "clips", **settings}}).data).split
    assert split == read_split(Path("s.csv"))
    assert split.classes == classes
    # The file that was written is the same split in a sweep, which then needs no word on the layout.
    config = parse_config({"data": {"dir": "clips", "split": "s.csv"}}).data
    assert scan(config).split == split


@pytest.mark.parametrize("layout", ["classes", "folders below", "other files"])
@pytest.mark.parametrize("word", ["folders", "merge"])
def test_word_on_split_folders_without_any_is_refused(make: Path, layout: str, word: str) -> None:
    fill(make, READ[layout][0])
    with pytest.raises((DataError, ConfigError), match=f"^--split {word} has no effect"):
        scan(parse_config({"data": {"dir": "clips", "split": word}}).data)
