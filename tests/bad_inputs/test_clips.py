"""Files that are no clips, for the command, the page and the registered model; the clips beside them are answered."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

from tests.bad_inputs.commands import Console
from tests.helpers.champions import coloured_square
from tests.helpers.small_models import one_thread
from tests.helpers.video_files import truncate, write_video
from tuning.config.run_folder import RunFolder
from tuning.export.pyfunc import ClipClassifier
from tuning.inference.app.server import render_prediction
from tuning.inference.champion import Champion
from tuning.tracking.logged_model import write_model_files


def video(folder: Path) -> Path:
    return write_video(folder / "whole.mp4", coloured_square("dip", 70), fps=10)


def written(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "bad.mp4").write_bytes(content)
        return folder / "bad.mp4"

    return make


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "fifo.mp4")
    return folder / "fifo.mp4"


def link(target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "link.mp4").symlink_to(target)
        return folder / "link.mp4"

    return make


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "bad.mp4", "w") as archive:
        archive.write(video(folder), "whole.mp4")
    return folder / "bad.mp4"


def without_header(folder: Path) -> Path:
    content = video(folder).read_bytes()
    (folder / "bad.mp4").write_bytes(content[len(content) // 2 :])
    return folder / "bad.mp4"


def empty_folder(folder: Path) -> Path:
    (folder / "x.mp4").mkdir()
    return folder / "x.mp4"


def picture(folder: Path) -> Path:
    Image.new("RGB", (64, 48)).save(folder / "picture.txt", "PNG")
    return folder / "picture.txt"


def playlist(folder: Path) -> Path:
    target = video(folder)
    (folder / "bad.m3u8").write_text(f"#EXTM3U\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n")
    return folder / "bad.m3u8"


UNREADABLE: dict[str, Callable[[Path], Path]] = {
    "empty": written(b""),
    "one byte": written(b"\0"),
    "text": written(b"no video\n" * 100),
    "zeros": written(bytes(10_000)),
    "random bytes": written(bytes(range(256)) * 40),
    "HTML": written(b"<!doctype html><title>404</title>"),
    "Git LFS pointer": written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"),
    "compressed": written(gzip.compress(b"no video" * 100)),
    "zip": zipped,
    "cut in the header": lambda folder: truncate(video(folder), 0.01),
    "cut before the index": lambda folder: truncate(video(folder), 0.6),
    "without a header": without_header,
    "playlist": playlist,
    "FIFO": fifo,
    "folder": empty_folder,
    "device": lambda folder: Path("/dev/null"),
    "endless device": lambda folder: Path("/dev/zero"),
    "unreadable": lambda folder: Path("/proc/self/mem"),
    "dangling link": link("nowhere.mp4"),
    "link to itself": link("link.mp4"),
    "missing": lambda folder: folder / "none.mp4",
    "below a file": lambda folder: video(folder) / "none.mp4",
    "name too long": lambda folder: folder / f"{'x' * 300}.mp4",
}


@pytest.fixture(scope="session")
def champion(finished_run: RunFolder) -> Champion:
    return Champion(finished_run.best)


@pytest.fixture(scope="session")
def classifier(finished_run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> ClipClassifier:
    folder = tmp_path_factory.mktemp("model")
    with one_thread():
        write_model_files(finished_run.best, folder, finished_run.read_config().data.limits())
    return ClipClassifier(folder)


@pytest.fixture
def good(finished_run: RunFolder) -> Path:
    return finished_run.path.parents[1] / "clips/dip/0.mp4"


@pytest.mark.parametrize("name", UNREADABLE)
def test_predict_refuses_the_file(console: Console, finished_run: RunFolder, tmp_path: Path, name: str) -> None:
    file = UNREADABLE[name](tmp_path)
    console.refuses(f"error: {file}: ", "tuning", "predict", "--run", finished_run.path, file)


@pytest.mark.parametrize("name", UNREADABLE)
def test_predict_answers_the_clip_beside_it(
    console: Console, finished_run: RunFolder, tmp_path: Path, good: Path, name: str
) -> None:
    file = UNREADABLE[name](tmp_path)
    ended = console.run("tuning", "predict", "--run", finished_run.path, file, good, "--format=csv", "--out=out.csv")
    assert ended.code == 2
    assert len(ended.errors) == 1, ended.err
    lines = Path("out.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"{good},0.00,2.00,dip,")


@pytest.mark.parametrize("name", UNREADABLE)
def test_page_refuses_the_file(champion: Champion, tmp_path: Path, name: str) -> None:
    file = UNREADABLE[name](tmp_path)
    html = render_prediction(champion, file, "mine", None)
    assert 'role="alert"' in html
    assert "can't be classified: " in unescape(html)


@pytest.mark.parametrize("name", UNREADABLE)
def test_registered_model_answers_the_clip_beside_it(
    classifier: ClipClassifier, tmp_path: Path, good: Path, name: str
) -> None:
    file = UNREADABLE[name](tmp_path)
    table = classifier.predict([str(file), str(good)])
    assert table["label"].tolist() == ["", "dip"]
    assert table["error"][0]
    assert "\n" not in table["error"][0]
    assert table["error"][1] == ""


@pytest.mark.parametrize("content", [b"", b"\0", b"no video", bytes(5000)])
def test_registered_model_refuses_the_content(classifier: ClipClassifier, content: bytes) -> None:
    table = classifier.predict([base64.b64encode(content).decode()])
    assert table["label"].tolist() == [""]
    assert table["error"][0]


@pytest.mark.parametrize("clip", [None, "", " ", "\0", "data:", "file:", "file://host/a.mp4", "http://host/a.mp4", 3])
def test_registered_model_refuses_the_value(classifier: ClipClassifier, clip: object) -> None:
    table = classifier.predict([clip])
    assert table["label"].tolist() == [""]
    assert table["error"][0]


def test_picture_is_one_frame(console: Console, finished_run: RunFolder, tmp_path: Path) -> None:
    ended = console.accepts("tuning", "predict", "--run", finished_run.path, picture(tmp_path), "--format=csv")
    assert ended.out.splitlines()[1].endswith(",black; one frame")


PREDICT = [
    (["--top=0"], "--top 0: give 1 or more"),
    (["--top=-1"], "--top -1"),
    (["--top=4"], "--top 4: the champion has 3 classes"),
    (["--top=x"], "invalid int"),
    (["--batch=0"], "--batch 0"),
    (["--batch=-1"], "--batch -1"),
    (["--window=0"], "--window 0"),
    (["--window=-1"], "--window -1"),
    (["--window=nan"], "--window nan"),
    (["--window=inf"], "--window inf"),
    (["--window=x"], "invalid float"),
    (["--hop=0"], "--hop 0"),
    (["--hop=nan"], "--hop nan"),
    (["--hop=99"], "leaves gaps"),
    (["--format=xml"], "invalid choice"),
    (["--out=none/x.csv"], "can't be written"),
    (["--out=."], "is a folder"),
    (["--out=small.yaml/x"], "can't be written"),
    ([f"--out={'x' * 300}"], "can't write"),
    (["--out=/dev/full"], "is a pipe or a device"),
    (["--plot=x.pdf"], "give a name that ends in"),
    (["--plot=none/x.png"], "can't be written"),
    ([f"--plot={'x' * 300}.png"], "can't write"),
    (["--unknown"], "unrecognized arguments"),
]


@pytest.mark.parametrize(("options", "message"), PREDICT, ids=[" ".join(words)[:30] for words, _ in PREDICT])
def test_predict_refuses_the_option(
    console: Console, finished_run: RunFolder, good: Path, options: list[str], message: str
) -> None:
    console.refuses(message, "tuning", "predict", "--run", finished_run.path, good, *options)


NAMES = {
    "not UTF-8": b"a\xff.mp4",
    "line break": b"a\nb.mp4",
    "escape": b"\x1b[31m.mp4",
    "quotes": b"\"a\",'b'.mp4",
    "comma": b"a,b;c.mp4",
    "percent": b"a%20b.mp4",
    "option": b"-rf.mp4",
    "letters of Japan": "腕立て伏せ.mp4".encode(),
}


@pytest.mark.parametrize(
    ("name", "form"),
    [*((name, "csv") for name in NAMES), ("not UTF-8", "table"), ("not UTF-8", "json"), ("line break", "json")],
)
def test_clip_with_an_odd_name_is_answered(
    console: Console, finished_run: RunFolder, tmp_path: Path, good: Path, name: str, form: str
) -> None:
    file = tmp_path / os.fsdecode(NAMES[name])
    file.write_bytes(good.read_bytes())
    words = ["tuning", "predict", "--run", finished_run.path, file, f"--format={form}"]
    console.accepts(*words, "--out=out")
    text = Path("out").read_text()
    console.accepts(*words)
    if form == "json":
        (answer,) = json.loads(text)
        assert os.fsencode(answer["clip"]) == os.fsencode(file)
        assert answer["label"] == "dip"
    elif form == "csv":
        assert [row["label"] for row in csv.DictReader(io.StringIO(text, newline=""))] == ["dip"]
    else:
        assert " dip " in text


@pytest.mark.parametrize("name", NAMES)
def test_missing_clip_with_an_odd_name_is_one_line(
    console: Console, finished_run: RunFolder, tmp_path: Path, name: str
) -> None:
    file = tmp_path / os.fsdecode(NAMES[name])
    console.refuses("no such file", "tuning", "predict", "--run", finished_run.path, file)
