from __future__ import annotations

import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.__main__ import main
from data.errors import DataError
from data.quality.audit import Audit, run_audit, write_audit_csv
from data.quality.audit_page import MAX_CLIPS_PER_DEFECT, write_audit_page
from data.quality.limits import Limits
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tests.helpers.video_files import grey_levels, moving_square, write_video

SETTINGS = DecodeSettings(frames=8, short_side=48)
NASTY = "<script>alert(1)< & \"x\" 'y'>.mp4"


def audited(root: Path, store: Path, settings: DecodeSettings = SETTINGS) -> Audit:
    return run_audit(root, FrameStore(store, settings), Limits(min_seconds=0.2), workers=1, progress=False)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes: a rotated clip, one of variable rate, two plain ones, a copy, two broken ones, and other files."""
    root = tmp_path_factory.mktemp("audit") / "my <clips>"
    write_video(root / "pull Up/turned.MOV", moving_square(0, height=48, width=96), rotation=90)
    write_video(
        root / "pull Up/uneven.mkv", moving_square(1), stamps=[0, 40, 80, 200, 240, 280, 500, 540, 580, 620, 660, 700]
    )
    write_video(root / "squat/good.mp4", moving_square(2), fps=30)
    write_video(root / "squat/levels.mp4", grey_levels(24))
    shutil.copy(root / "squat/good.mp4", root / "squat" / NASTY)
    (root / "squat/empty.mp4").touch()
    (root / "squat/text.mp4").write_text("no video " * 50)
    (root / "squat/notes.txt").touch()
    (root / "pull Up/Thumbs.db").touch()
    return root


@pytest.fixture(scope="module")
def audit(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, FrameStore]:
    store = FrameStore(tmp_path_factory.mktemp("store"), SETTINGS)
    return audited(clips, store.root), store


def test_csv_has_format_status_and_reason_of_files(
    audit: tuple[Audit, FrameStore], clips: Path, tmp_path: Path
) -> None:
    write_audit_csv(audit[0], tmp_path / "new/audit.csv")
    table = pd.read_csv(tmp_path / "new/audit.csv", dtype=str, keep_default_na=False)
    columns = "path,class,container,codec,width,height,rotation,fps,variable_rate,frames,duration,sha256,status,reason"
    assert ",".join(table) == columns
    assert list(table["path"]) == sorted(table["path"])
    rows = table.set_index("path")
    turned = rows.loc["pull Up/turned.MOV"]
    assert (turned["class"], turned["codec"]) == ("pull Up", "h264")
    assert "mov" in turned["container"].split(",")
    assert (turned["width"], turned["height"], turned["rotation"]) == ("96", "48", "270")
    assert (turned["fps"], turned["variable_rate"], turned["frames"]) == ("25.000", "no", "12")
    assert turned["duration"] == "0.480"
    assert rows.loc["pull Up/uneven.mkv", "variable_rate"] == "yes"
    assert rows.loc["squat/empty.mp4", "frames"] == rows.loc["squat/empty.mp4", "codec"] == ""
    assert rows["status"].to_dict() == {
        "pull Up/turned.MOV": "ok",
        "pull Up/uneven.mkv": "ok",
        f"squat/{NASTY}": "ok",
        "squat/empty.mp4": "unusable",
        "squat/good.mp4": "suspect",
        "squat/levels.mp4": "ok",
        "squat/text.mp4": "unusable",
    }
    assert rows.loc["squat/good.mp4", "reason"] == f"duplicate: it has the same bytes as squat/{NASTY}"
    assert rows.loc["squat/empty.mp4", "reason"] == "unreadable: the file is empty"
    assert (rows["reason"] == "").equals(rows["status"] == "ok")
    for path, digest in rows["sha256"].items():
        assert digest == hashlib.sha256((clips / str(path)).read_bytes()).hexdigest()


def test_second_audit_decodes_nothing_and_has_the_same_results(audit: tuple[Audit, FrameStore], clips: Path) -> None:
    again = audited(clips, audit[1].root)
    assert (audit[0].decoded, again.decoded) == (4, 0)
    assert again.clips == audit[0].clips


def test_other_files_are_counted_and_named(audit: tuple[Audit, FrameStore]) -> None:
    assert audit[0].ignored == ("pull Up/Thumbs.db", "squat/notes.txt")
    assert any("2 (pull Up/Thumbs.db, squat/notes.txt)" in sentence for sentence in audit[0].sentences())


class Page(HTMLParser):
    """Tags, addresses, images and text of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.images: dict[str, str] = {}
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.loaded += [found[key] for key in ("src", "href", "xlink:href", "srcset", "data") if key in found]
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "img":
            self.images[found["alt"]] = found["src"]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(audit: Audit, store: FrameStore, folder: Path) -> tuple[str, Page]:
    write_audit_page(audit, store, folder / "audit.html")
    text = (folder / "audit.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_page_is_self_contained(audit: tuple[Audit, FrameStore], tmp_path: Path) -> None:
    text, page = page_of(*audit, tmp_path)
    assert {"script", "link", "iframe", "object"}.isdisjoint(page.tags)
    assert page.loaded
    for address in page.loaded:
        assert address.startswith("data:image/jpeg;base64,") or address.removeprefix("#") in page.ids
    assert re.findall(r"url\((?!#)|@import", text) == []


def test_page_escapes_file_names(audit: tuple[Audit, FrameStore], tmp_path: Path) -> None:
    text, page = page_of(*audit, tmp_path)
    assert "<script" not in text
    assert NASTY in page.text
    assert "my <clips>" in page.text


def test_page_shows_pictures_of_each_defect_and_class(audit: tuple[Audit, FrameStore], tmp_path: Path) -> None:
    text, page = page_of(*audit, tmp_path)
    for sentence in audit[0].sentences():
        assert sentence in page.text
    for clip in audit[0].clips:
        for defect in clip.defects:
            assert defect.detail in page.text
    assert {"frames of squat/good.mp4", f"frames of squat/{NASTY}", "a frame of pull Up/turned.MOV"} <= set(page.images)
    assert page.text.count("no picture") == 2
    assert "prefers-color-scheme: dark" in text
    assert "var(--bar)" in text


def test_page_limits_the_clips_per_defect(clips: Path, tmp_path: Path) -> None:
    root = tmp_path / "clips"
    shutil.copytree(clips, root)
    for number in range(2 * MAX_CLIPS_PER_DEFECT):
        (root / "pull Up" / f"broken-{number:03}.mp4").touch()
    audit = audited(root, tmp_path / "store")
    _, page = page_of(audit, FrameStore(tmp_path / "store", SETTINGS), tmp_path)
    assert page.text.count("no picture") == MAX_CLIPS_PER_DEFECT
    assert f"The first {MAX_CLIPS_PER_DEFECT} of {2 * MAX_CLIPS_PER_DEFECT + 2}; audit.csv lists all." in page.text


def test_page_of_only_good_and_of_only_broken_clips(tmp_path: Path) -> None:
    for label in "ab":
        write_video(tmp_path / "good" / label / "clip.mp4", moving_square(ord(label)))
        (tmp_path / "bad" / label).mkdir(parents=True)
        (tmp_path / "bad" / label / "clip.mp4").touch()
    good, bad = (audited(tmp_path / name, tmp_path / "store") for name in ("good", "bad"))
    store = FrameStore(tmp_path / "store", SETTINGS)
    assert good.sentences()[0] == "2 clips of 2 classes, 1 s of video: all are ok."
    assert "None." in page_of(good, store, tmp_path)[1].text
    assert bad.sentences()[0] == "2 clips of 2 classes, 0 s of video: 0 are ok, 0 suspect and 2 unusable."
    assert page_of(bad, store, tmp_path)[1].text.count("No clip of this class has frames.") == 2


def test_command_writes_csv_and_page_and_prints_a_summary(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["audit", str(clips), "--frames", "8", "--short-side", "48", "--workers", "1", "--min-seconds", "0.2"]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "7 clips of 2 classes" in output
    assert re.search(r"^unreadable +2 +squat/empty.mp4, squat/text.mp4$", output, re.MULTILINE)
    assert re.search(r"^duplicate +1 +squat/good.mp4$", output, re.MULTILINE)
    assert sorted(path.name for path in (tmp_path / "audit").iterdir()) == ["audit.csv", "audit.html"]
    assert "audit/audit.html" in output
    assert FrameStore(tmp_path / "frame_store", SETTINGS).folder.is_dir()
    assert main([*command, "--out", "elsewhere", "--strict"]) == 1
    assert (tmp_path / "elsewhere/audit.csv").read_bytes() == (tmp_path / "audit/audit.csv").read_bytes()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--frames", "1"], "keep 2 frames or more"),
        (["--short-side", "1"], "short side"),
        (["--workers", "0"], "workers is 0; give 1 or more"),
        (["--seconds-per-clip", "0"], "the time limit for one clip is 0 s; give more than 0 s"),
        (["--min-seconds", "99"], "at least 99 s and at most 60 s"),
        (["--groups", "none.csv"], "no such groups file"),
        (["--out", "file"], "can't write to 'file'; give another folder"),
        (["--out", "file/below"], "can't write to 'file/below'"),
    ],
)
def test_command_prints_user_errors_in_one_line(
    extra: list[str],
    message: str,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["audit", str(clips), *extra]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    errors = output.err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_folder_without_two_classes_raises(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_video(tmp_path / "single/squat/clip.mp4", [np.zeros((48, 64, 3), np.uint8)] * 2)
    for name, message in (("none", "no such folder"), ("empty", "no clips in"), ("single", "only one class")):
        with pytest.raises(DataError, match=message):
            audited(tmp_path / name, tmp_path / "store")
