import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from data.clip import Clip
from data.dataset.clips import read_groups, scan_clips
from data.dataset.video_files import VIDEO_SUFFIXES
from data.errors import DataError
from tests.helpers.clip_folders import make_files
from tests.helpers.messages import exactly
from tests.helpers.processes import PROJECT


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_scan_returns_relative_paths_and_top_folders_as_classes(tmp_path: Path) -> None:
    make_files(tmp_path, "squat/b.mp4", "squat/a.MOV", "pull Up/anna/day 1/é.webm", "Überzug/x, y.Mp4")
    assert scan_clips(tmp_path).clips == (
        Clip("pull Up/anna/day 1/é.webm", "pull Up", "pull Up/anna/day 1/é.webm"),
        Clip("squat/a.MOV", "squat", "squat/a.MOV"),
        Clip("squat/b.mp4", "squat", "squat/b.mp4"),
        Clip("Überzug/x, y.Mp4", "Überzug", "Überzug/x, y.Mp4"),
    )


def test_scan_lists_ignored_files(tmp_path: Path) -> None:
    make_files(tmp_path, "a/1.mp4", "a/notes.txt", "a/deep/cover.JPG", "b/2.avi", "b/no_suffix", "docs/c/read.me")
    make_files(tmp_path, "sources.csv", ".git/x.mp4", "a/.DS_Store", "a/._1.mp4", "b/.cache/3.mp4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "no clip.mp4").symlink_to(tmp_path / "nowhere.mp4")
    scan = scan_clips(tmp_path)
    assert [clip.path for clip in scan.clips] == ["a/1.mp4", "b/2.avi"]
    assert scan.ignored == (
        "a/deep/cover.JPG",
        "a/no clip.mp4",
        "a/notes.txt",
        "b/no_suffix",
        "docs/",
        "empty/",
    )


def test_folder_named_like_a_video_is_scanned(tmp_path: Path) -> None:
    make_files(tmp_path, "a/1.mp4/inner.mp4", "b/2.mp4")
    assert [clip.path for clip in scan_clips(tmp_path).clips] == ["a/1.mp4/inner.mp4", "b/2.mp4"]


def test_links_are_followed_except_cycles(tmp_path: Path) -> None:
    elsewhere = make_files(tmp_path / "elsewhere", "one.mp4", "folder/two.mp4")
    root = make_files(tmp_path / "root", "a/1.mp4")
    (root / "a" / "link.mp4").symlink_to(elsewhere / "one.mp4")
    (root / "b").symlink_to(elsewhere / "folder")
    (root / "a" / "itself").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "other").symlink_to(root / "a" / "other")
    scan = scan_clips(root)
    assert [clip.path for clip in scan.clips] == ["a/1.mp4", "a/link.mp4", "b/two.mp4"]
    assert scan.ignored == ("a/other",)


def test_suffixes_are_lower_case_and_include_phones_and_cameras() -> None:
    assert all(re.fullmatch(r"\.[a-z0-9]+", suffix) for suffix in VIDEO_SUFFIXES)
    wanted = ".mp4 .mov .m4v .avi .mkv .webm .gif .wmv .flv .mpg .mpeg .ts .mts .m2ts .3gp .ogv .mxf .asf .vob"
    assert set(wanted.split()) <= VIDEO_SUFFIXES


def test_groups_are_taken_from_the_mapping(tmp_path: Path) -> None:
    make_files(tmp_path, "a/1.mp4", "b/2.mp4")
    scan = scan_clips(tmp_path, {"a/1.mp4": "NA", "b/2.mp4": "NA"})
    assert scan.clips == (Clip("a/1.mp4", "a", "NA"), Clip("b/2.mp4", "b", "NA"))
    assert scan.unmatched_groups == scan_clips(tmp_path).unmatched_groups == ()


def test_groups_without_a_clip_are_listed(tmp_path: Path) -> None:
    make_files(tmp_path, "a/1.mp4", "a/notes.txt", "b/2.mp4")
    groups = dict.fromkeys(["c/gone.mp4", "b/2.mp4", "a/notes.txt", "a/1.mp4", "A/1.mp4"], "x")
    assert scan_clips(tmp_path, groups).unmatched_groups == ("A/1.mp4", "a/notes.txt", "c/gone.mp4")


def test_clip_without_group_raises(tmp_path: Path) -> None:
    make_files(tmp_path, "a/1.mp4", "a/2.mp4", "b/3.mp4")
    expected = (
        "2 of 3 clips have no group, the first is 'a/2.mp4'; "
        "list the path of each, relative to the data folder, in the groups file"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        scan_clips(tmp_path, {"a/1.mp4": "x"})
    with pytest.raises(DataError, match=r"^3 of 3 clips have no group"):
        scan_clips(tmp_path, {})


def test_missing_folder_and_file_raise(tmp_path: Path) -> None:
    none, file = tmp_path / "none", tmp_path / "file"
    file.touch()
    hint = "give the folder that has one sub-folder per class"
    with pytest.raises(DataError, match=exactly(f"no such folder: '{none}'; {hint}")):
        scan_clips(none)
    with pytest.raises(DataError, match=exactly(f"'{file}' is not a folder; {hint}")):
        scan_clips(file)


def test_folder_without_clips_raises(tmp_path: Path) -> None:
    make_files(tmp_path, "notes.txt", "a/notes.txt")
    expected = f"no clips in '{tmp_path}'; it needs one sub-folder per class, with video files in it"
    with pytest.raises(DataError, match=exactly(expected)):
        scan_clips(tmp_path)


def test_single_class_raises(tmp_path: Path) -> None:
    make_files(tmp_path, "push up/1.mp4", "notes/a.txt")
    expected = f"only one class in '{tmp_path}', 'push up'; it needs two or more sub-folders with video files"
    with pytest.raises(DataError, match=exactly(expected)):
        scan_clips(tmp_path)


@pytest.mark.parametrize("bad", ["a/new\nline.mp4", "tab\there/1.mp4", "a/\x85.txt", "a/\u2028/1.mp4"])
def test_name_with_a_line_break_raises(tmp_path: Path, bad: str) -> None:
    make_files(tmp_path, "a/1.mp4", "b/2.mp4", bad)
    with pytest.raises(
        DataError, match=r"has a (line break|control character) \(U\+00(0A|09|85)|U\+2028\) at"
    ) as caught:
        scan_clips(tmp_path)
    assert "\n" not in str(caught.value)
    assert ascii(bad.split("/")[0])[1:-1] in ascii(str(caught.value)).replace("\\\\", "\\")


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes only on POSIX")
def test_name_that_is_not_utf8_raises(tmp_path: Path) -> None:
    make_files(tmp_path, "a/1.mp4", "b/2.mp4")
    with open(os.fsencode(tmp_path) + b"/a/\xff.mp4", "wb"):
        pass
    expected = r"the name 'a/\udcff.mp4' has the byte 0xFF, which is not UTF-8, at position 3: rename it"
    with pytest.raises(DataError, match=exactly(expected)):
        scan_clips(tmp_path)


def test_locale_that_cannot_represent_a_name_is_named(tmp_path: Path) -> None:
    make_files(tmp_path, "Liegestütz/1.mp4", "b/2.mp4")
    script = f"from pathlib import Path; from data.dataset.clips import scan_clips; scan_clips(Path({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert r"the name 'Liegest\xfctz' can't be read, since the encoding of this locale is ascii" in done.stderr
    assert "set PYTHONUTF8=1" in done.stderr


def test_name_may_be_a_joined_emoji(tmp_path: Path) -> None:
    make_files(tmp_path, "🏋🏽\u200d♀️/1.mp4", "b/2.mp4")
    assert [clip.label for clip in scan_clips(tmp_path).clips] == ["b", "🏋🏽\u200d♀️"]


@pytest.mark.parametrize("path", ["/a/1.mp4", "../1.mp4", "a/../../1.mp4", "a/..", "C:\\a\\1.mp4", "d:/1.mp4"])
def test_clip_outside_the_folder_raises(path: str) -> None:
    expected = f"clip {path!r} is outside the data folder: give a path relative to that folder"
    with pytest.raises(DataError, match=exactly(expected)):
        Clip(path, "a", "g")


@pytest.mark.parametrize("path", ["a/..1.mp4", "a../1.mp4", "a/1..mp4", "c:mp4/1.mp4"])
def test_names_may_contain_dots_and_colons(path: str) -> None:
    assert Clip(path, "a", "g").path == path


@pytest.mark.parametrize("field", ["path", "label", "group"])
def test_empty_field_raises(field: str) -> None:
    values = {"path": "a/1.mp4", "label": "a", "group": "g"} | {field: ""}
    with pytest.raises(DataError, match=exactly(f"clip {values['path']!r} has an empty {field}: fill it in")):
        Clip(**values)


def test_groups_are_read_as_text(tmp_path: Path) -> None:
    text = 'path,label,group\na/1.mp4,a,NA\n"a/2, ""b"".mp4",a,007\na/3.mp4,a, null \na/1.mp4,a,NA\n'
    spec = write(tmp_path / "groups.csv", text)
    assert read_groups(spec) == {"a/1.mp4": "NA", 'a/2, "b".mp4': "007", "a/3.mp4": "null"}


def test_groups_are_read_from_a_named_column(tmp_path: Path) -> None:
    spec = write(tmp_path / "sources.csv", b"\xef\xbb\xbfsource video,path\r\nv1,a/1.mp4\r\n")
    assert read_groups(f"{spec}:source video") == {"a/1.mp4": "v1"}


@pytest.mark.skipif(os.name != "posix", reason="other systems allow no colons in file names")
def test_colon_may_be_part_of_the_file_name(tmp_path: Path) -> None:
    spec = write(tmp_path / "at 10:30.csv", "path,group,who\na/1.mp4,g,anna\n")
    assert read_groups(spec) == {"a/1.mp4": "g"}
    assert read_groups(f"{spec}:who") == {"a/1.mp4": "anna"}


@pytest.mark.parametrize("suffix", ["", ":group", ":", ":a:b"])
def test_missing_groups_file_raises(tmp_path: Path, suffix: str) -> None:
    spec = f"{tmp_path}/none.csv{suffix}"
    expected = f"no such groups file: {spec!r}; give FILE.csv (columns path and group) or FILE.csv:COLUMN"
    with pytest.raises(DataError, match=exactly(expected)):
        read_groups(spec)


@pytest.mark.parametrize("suffix", ["", ":group"])
def test_groups_in_a_pipe_or_a_folder_raise(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(
        DataError, match=r"can't read the groups file '.*pipe\.csv': it is a pipe or a device; give a CSV"
    ):
        read_groups(f"{tmp_path}/pipe.csv{suffix}")
    with pytest.raises(DataError, match=r"can't read the groups file '.*': it is a folder; give a CSV file"):
        read_groups(f"{tmp_path}{suffix}")


def test_missing_column_raises(tmp_path: Path) -> None:
    spec = write(tmp_path / "s.csv", "path,source_video,scene\n")
    expected = (
        f"'{spec}' has no column 'source_vid': it must have 'path' and 'source_vid', its columns are 'path', "
        "'source_video', 'scene'; did you mean 'source_video'?"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        read_groups(f"{spec}:source_vid")
    expected = (
        f"'{spec}' has no column 'group': it must have 'path' and 'group', its columns are 'path', 'source_video', "
        "'scene'"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        read_groups(spec)
    empty = write(tmp_path / "empty.csv", "")
    expected = f"'{empty}' has no columns 'path' and 'group': it must have 'path' and 'group', its columns are none"
    with pytest.raises(DataError, match=exactly(expected)):
        read_groups(empty)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,group\na,x\nb,\n", "line 3: the column 'group' is empty; fill it in"),
        ("path,group\na,x\nb, \n", "line 3: the column 'group' is empty; fill it in"),
        ("group,path\nx\n", "line 2: the column 'path' is empty; fill it in"),
        ("path,group\na,b,x\n", "line 2: more cells than columns; put a name with a comma in quotes"),
        (
            "path,group\na,x\na,y\n",
            "line 3: clip 'a' has the group 'y' here and 'x' above; keep one of them",
        ),
        ('path,group\n"a"b,x\n', "line 2: not CSV (',' expected after '\"'); correct the line"),
    ],
)
def test_bad_line_of_the_groups_file_raises(tmp_path: Path, text: str, expected: str) -> None:
    spec = write(tmp_path / "g.csv", text)
    with pytest.raises(DataError, match=exactly(f"'{spec}', {expected}")):
        read_groups(spec)


def test_group_with_a_line_break_raises(tmp_path: Path) -> None:
    spec = write(tmp_path / "g.csv", 'path,group\na,"x\ny"\n')
    with pytest.raises(DataError, match=r"^the name 'x\\ny' has a line break"):
        read_groups(spec)


def test_groups_file_in_another_encoding_raises(tmp_path: Path) -> None:
    spec = write(tmp_path / "g.csv", "path,group\nÜ,x\n".encode("latin-1"))
    with pytest.raises(DataError, match=exactly(f"'{spec}' is not in UTF-8; save it as CSV in UTF-8")):
        read_groups(spec)
