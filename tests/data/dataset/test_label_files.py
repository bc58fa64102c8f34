from __future__ import annotations

from pathlib import Path

import pytest

from data.clip import Clip
from data.dataset.clips import Scan, check_groups_to_find, scan_clips
from data.dataset.label_files import LabelRow, read_labels
from data.errors import DataError
from tests.helpers.clip_folders import make_files

UCF101 = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\nYoYo/v_YoYo_g08_c01.avi 101\n"
UCF101_TEST = "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\nYoYo/v_YoYo_g01_c01.avi\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def scanned(folder: Path, *files: Path, split: str | None = None) -> Scan:
    return scan_clips(folder, labels=read_labels(files), split=split)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Four videos that are in no class folder."""
    return make_files(tmp_path / "clips", "1.mp4", "2.mp4", "more/3 b, c.mp4", "more/4.mp4")


def test_csv_gives_the_classes(flat: Path, tmp_path: Path) -> None:
    text = 'label,path\nsquat,1.mp4\npush up,2.mp4\nsquat,"clips/more/3 b, c.mp4"\n'
    scan = scanned(flat, write(tmp_path / "labels.csv", text))
    assert scan.clips == (
        Clip("1.mp4", "squat", "1.mp4"),
        Clip("2.mp4", "push up", "2.mp4"),
        Clip("more/3 b, c.mp4", "squat", "more/3 b, c.mp4"),
    )
    assert (scan.splits, scan.has_groups) == (None, False)
    assert scan.notes == ("1 videos in the folder are not used, because the label file does not list them: more/4.mp4",)


def test_csv_may_give_groups_and_splits(flat: Path, tmp_path: Path) -> None:
    text = "path,label,group,split\n1.mp4,squat,a,Training\n2.mp4,dip,b,validation\nmore/4.mp4,dip,c,test\n"
    file = write(tmp_path / "labels.csv", text)
    scan = scanned(flat, file)
    assert [clip.group for clip in scan.clips] == ["a", "b", "c"]
    assert scan.splits == {"1.mp4": "train", "2.mp4": "val", "more/4.mp4": "test"}
    assert scanned(flat, file, split="merge").splits is None
    with pytest.raises(DataError, match=r"^--split folders has no effect: the label file has a split"):
        scanned(flat, file, split="folders")
    with pytest.raises(DataError, match=r"^the label file has a group for each clip; leave out --groups, or"):
        scan_clips(flat, {"1.mp4": "x"}, labels=read_labels([file]))
    with pytest.raises(DataError, match=r"^the label file has a group for each clip; leave out --groups auto, or"):
        check_groups_to_find(scan)


@pytest.mark.parametrize(
    "line", ["more/3 b, c.mp4 {}", "more/3 b, c.mp4\t{}", '"more/3 b, c.mp4",{}', "more/3 b, c.mp4, {}"]
)
@pytest.mark.parametrize("label", ["squat", "push up"])
def test_list_has_a_path_and_a_class_per_line(tmp_path: Path, line: str, label: str) -> None:
    file = write(tmp_path / "list.txt", f"1.mp4 dip\n\n{line.format(label)}\n")
    assert read_labels([file]).rows == {"1.mp4": LabelRow("dip"), "more/3 b, c.mp4": LabelRow(label)}


def test_ucf101_lists_give_classes_and_splits(tmp_path: Path) -> None:
    train = write(tmp_path / "lists/trainlist01.txt", UCF101)
    test = write(tmp_path / "lists/testlist01.txt", UCF101_TEST)
    index = write(tmp_path / "lists/classInd.txt", "1 Apply Eye Makeup\n2 ApplyLipstick\n101 YoYo\n")
    root = make_files(tmp_path / "UCF-101", *(line.split()[0] for line in (UCF101 + UCF101_TEST).splitlines()))
    assert {row.label for row in read_labels([train]).rows.values()} == {"Apply Eye Makeup", "YoYo"}
    assert not read_labels([train]).splits
    index.unlink()
    scan = scanned(root, train, test)
    assert scan.splits is not None
    assert [(clip.label, scan.splits[clip.path]) for clip in scan.clips] == [
        ("ApplyEyeMakeup", "test"),
        ("ApplyEyeMakeup", "train"),
        ("YoYo", "test"),
        ("YoYo", "train"),
    ]
    assert scan.notes == ("class numbers are named by the folders of their clips: 1 is ApplyEyeMakeup, 101 is YoYo",)


def test_kinetics_lists_have_a_label_map(tmp_path: Path) -> None:
    root = make_files(tmp_path / "k400", *(f"{split}/{number}.mp4" for split in ("train", "val") for number in (1, 2)))
    lists = [write(tmp_path / f"k400_{s}_list_videos.txt", f"{s}/1.mp4 0\n{s}/2.mp4 1\n") for s in ("train", "val")]
    scan = scanned(root, *lists)
    assert [clip.label for clip in scan.clips] == ["0", "1", "0", "1"]
    assert scan.notes[0].startswith("class numbers have no names; put UCF101's classInd.txt")
    write(tmp_path / "label_map_k400.txt", "abseiling\nair drumming\n")
    scan = scanned(root, *lists)
    assert [clip.label for clip in scan.clips] == ["abseiling", "air drumming"] * 2
    assert scan.splits is not None
    assert list(scan.splits.values()) == ["train", "train", "val", "val"]
    with pytest.raises(DataError, match="has split folders"):
        scanned(root, write(tmp_path / "all.txt", "".join(file.read_text() for file in lists)))


def test_rows_without_a_clip_are_shown_beside_the_nearest(flat: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "list.txt", "1.mp4 dip\nmore/4.mp4 squat\nmoer/4.mp4 squat\n")
    assert scanned(flat, file).notes[0] == (
        "1 rows of the label file are not clips of the folder: moer/4.mp4 (nearest: more/4.mp4)"
    )
    with pytest.raises(DataError, match=r"^none of the 1 clips of the label file are in '.*', the first is moer/4.mp4"):
        scanned(flat, write(tmp_path / "none.txt", "moer/4.mp4 squat\n"))


def test_classes_of_a_list_that_look_alike_raise(flat: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "list.csv", "path,label\n1.mp4,push up\n2.mp4,Push-up\nmore/4.mp4,dip\n")
    with pytest.raises(DataError, match=r"^class names look alike: 'Push-up' and 'push up'"):
        scanned(flat, file)


def test_one_class_raises(flat: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^all 2 clips are of one class, 'dip'"):
        scanned(flat, write(tmp_path / "list.txt", "1.mp4 dip\n2.mp4 dip\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a list of labels, its first line is ''; give a CSV with the columns path and label"),
        ("video_name,tag\n1.mp4,dip\n", "is not a list of labels, its first line is 'video_name,tag'"),
        ("some/frames 122 3\n", "is not a list of labels, its first line is 'some/frames 122 3'"),
        ("\x00\x01\x02", "is not a list of labels"),
        ("path,lable\n1.mp4,dip\n", "has no column 'label'"),
        ("path,label\n1.mp4,\n", "line 2: the column 'label' is empty"),
        ("path,label,split\n1.mp4,dip,later\n", "line 2: the split is 'later'; give one of train, val, test, left-out"),
        ("1.mp4 dip\nsquat\n", "line 2: 'squat' is not 'PATH LABEL'"),
        ("1.mp4 3 4\n", "line 1: '3 4' is more than one label"),
        ("1.mp4 dip\n1.mp4 squat\n", "line 2: clip '1.mp4' is listed above with another label"),
        ("1.mp4 dip\n2.mp4\n", "no class is given for '2.mp4'"),
        ("1.mp4 dip\nmore/3.mp4\n", "no class is given for 'more/3.mp4'"),
        ("1.mp4\n", "no class is given for '1.mp4'"),
        ("1.mp4 \x1b[2J\n", "has a control character"),
    ],
)
def test_bad_label_file_raises(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_labels([write(tmp_path / "labels.csv", text)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_label_file_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^can't read '.*none.csv'"):
        read_labels([tmp_path / "none.csv"])
    with pytest.raises(DataError, match="it is a folder; give a file of labels"):
        read_labels([tmp_path])
    (tmp_path / "latin.csv").write_bytes("path,label\né.mp4,dip\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not in UTF-8"):
        read_labels([tmp_path / "latin.csv"])


def test_number_without_a_name_raises(tmp_path: Path) -> None:
    write(tmp_path / "classInd.txt", "1 dip\n2 squat\n")
    with pytest.raises(DataError, match="line 2: class 3 has no name in the list of classes"):
        read_labels([write(tmp_path / "list.txt", "1.mp4 1\n2.mp4 3\n")])
    write(tmp_path / "classInd.txt", "dip\n")
    with pytest.raises(DataError, match=r"classInd.txt', line 1: 'dip' is not 'NUMBER CLASS'"):
        read_labels([write(tmp_path / "list.txt", "1.mp4 1\n")])


def test_files_of_which_some_have_groups_raise(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.csv", "path,label,group\n1.mp4,dip,g\n"), write(tmp_path / "b.txt", "2.mp4 squat\n")]
    with pytest.raises(DataError, match=r"^only some of the label files have a group for each clip"):
        read_labels(files)
