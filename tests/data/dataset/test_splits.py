from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.clip import Clip
from data.dataset.splits import (
    SPLITS,
    Round,
    Split,
    SplitRow,
    read_split,
    write_split,
)
from data.dataset.stratify import make_folds, make_split
from data.errors import DataError
from tests.helpers.labelled_clips import clips_of
from tests.helpers.messages import exactly

names = st.text(
    st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")) | st.sampled_from(" ,\"';é"), min_size=1
).filter(lambda name: name.strip() and not re.search(r"[/\\:]|^\.+$", name))


@given(st.dictionaries(names, st.lists(names, min_size=3, max_size=5, unique=True), min_size=2, max_size=3))
@settings(deadline=None)
def test_written_split_with_any_names_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, list[str]]
) -> None:
    clips = [Clip(f"{label}/{name}", label, f"{label} {name}") for label, found in files.items() for name in found]
    split = make_split(clips)
    path = tmp_path_factory.mktemp("split") / "split.csv"
    write_split(split, path)
    assert read_split(path) == split
    assert hashlib.sha256(path.read_bytes()).hexdigest() == split.sha256 == read_split(path).sha256


def test_plain_split_has_one_round() -> None:
    split = make_split(clips_of(a=[1] * 7, b=[2] * 6))
    assert split.folds == 0
    assert split.parts == SPLITS
    assert split.rounds() == (Round(tuple(split.clips("train")), tuple(split.clips("val"))),)


def test_each_fold_is_validated_once_and_trained_on_in_the_other_rounds() -> None:
    split = make_folds(clips_of(a=[1] * 7, b=[2] * 6), folds=3)
    rounds = split.rounds()
    assert sorted(clip for each in rounds for clip in each.val) == sorted(
        clip for name in ("fold-1", "fold-2", "fold-3") for clip in split.clips(name)
    )
    for number, each in enumerate(rounds, 1):
        assert list(each.val) == split.clips(f"fold-{number}")
        assert sorted((*each.train, *each.val, *split.clips("test"))) == [row.clip for row in split.rows]


ROWS = [
    "a/1.mp4,a,g1,train",
    "a/2.mp4,a,g2,val",
    "a/3.mp4,a,g3,test",
    '"b/4, ""x"".mp4",b,g4,train',
    "c/5.mp4,c,g1,left-out",
]


HEADER = "path,label,group,split"


def test_file_has_quotes_only_where_needed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "split.csv"
    written = "\n".join([HEADER, *ROWS, ""]).encode()
    split = Split(
        (
            SplitRow(Clip("c/5.mp4", "c", "g1"), "left-out"),
            SplitRow(Clip("a/2.mp4", "a", "g2"), "val"),
            SplitRow(Clip("a/1.mp4", "a", "g1"), "train"),
            SplitRow(Clip('b/4, "x".mp4', "b", "g4"), "train"),
            SplitRow(Clip("a/3.mp4", "a", "g3"), "test"),
        )
    )
    write_split(split, path)
    write_split(split, path)
    assert path.read_bytes() == written == split.to_csv().encode()
    assert list(path.parent.iterdir()) == [path]
    assert split.sha256 == hashlib.sha256(written).hexdigest()


def test_edited_file_has_the_hash_of_the_written_one(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("\n".join([HEADER, *ROWS, ""]), newline="")
    split = read_split(path)
    edited = [
        "split,path,note,group,label",
        "test,a/3.mp4,,g3,a",
        'train,"b/4, ""x"".mp4",good,g4,b',
        "",
        'val,"a/2.mp4",,"g2",a',
        "train,a/1.mp4,,g1,a",
        "left-out,c/5.mp4,,g1,c",
    ]
    path.write_text("\ufeff" + "\r\n".join(edited), newline="")
    assert read_split(path) == split
    assert read_split(path).sha256 == split.sha256


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.mkdir()
    split = make_split(clips_of(a=[1, 1, 1], b=[1, 1, 1]))
    with pytest.raises(DataError, match=exactly(f"can't write '{path}': Is a directory")):
        write_split(split, path)
    assert list(tmp_path.iterdir()) == [path]
    below = tmp_path / "file" / "split.csv"
    below.parent.touch()
    with pytest.raises(DataError, match=r"^can't write '.*': (File exists|Not a directory)$"):
        write_split(split, below)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {0: "a/1.mp4,a,g1,dev"},
            ", line 2: the split is 'dev'; give one of train, val, test, left-out, fold-1, fold-2 and so on",
        ),
        ({2: "a/1.mp4,a,g3,test"}, ", line 4: clip 'a/1.mp4' is listed twice; keep one of the lines"),
        (
            {1: "/a/2.mp4,a,g2,val"},
            ", line 3: clip '/a/2.mp4' is outside the data folder: give a path relative to that folder",
        ),
        (
            {1: "a/../../2.mp4,a,g2,val"},
            ", line 3: clip 'a/../../2.mp4' is outside the data folder: give a path relative to that folder",
        ),
        ({1: "a/2.mp4,,g2,val"}, ", line 3: the column 'label' is empty; fill it in"),
        (
            {2: "a/3.mp4,a,g2,test"},
            ": group 'g2' is in val and, with 'a/3.mp4', in test; keep each group in one part",
        ),
        ({3: ""}, ": train has 1 class(es), but at least two are needed; add groups of other classes"),
        ({1: ""}, ": val has no clips; make a new split, or move whole groups to it"),
        ({2: ""}, ": test has no clips; make a new split, or move whole groups to it"),
        ({4: "c/5.mp4,c,g5,val"}, ": class 'c' is in val but not in train; add groups of it there"),
        ({4: "c/5.mp4,c,g5,test"}, ": class 'c' is in test but not in train; add groups of it there"),
    ],
)
def test_unusable_split_raises(tmp_path: Path, change: dict[int, str], expected: str) -> None:
    path = tmp_path / "split.csv"
    rows = [change.get(number, row) for number, row in enumerate(ROWS)]
    path.write_text("\n".join([HEADER, *rows, ""]))
    with pytest.raises(DataError, match=exactly(f"'{path}'{expected}")):
        read_split(path)


FOLD_ROWS = [
    "a/1.mp4,a,g1,fold-1",
    "a/2.mp4,a,g2,fold-2",
    "a/3.mp4,a,g3,test",
    "b/4.mp4,b,g4,fold-1",
    "b/5.mp4,b,g5,train",
    "c/6.mp4,c,g6,left-out",
]


def test_written_folds_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("\n".join([HEADER, *FOLD_ROWS, ""]))
    split = read_split(path)
    assert split.folds == 2
    assert split.classes == ("a", "b")
    assert split.to_csv().encode() == path.read_bytes()
    made = make_folds(clips_of(a=[1] * 12, b=[1] * 11), folds=10)
    write_split(made, path)
    assert read_split(path) == made
    assert read_split(path).sha256 == made.sha256


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({1: "a/2.mp4,a,g2,val"}, " has folds and a val part; move the clips of val to folds or to train"),
        ({1: "a/2.mp4,a,g2,fold-3"}, " has folds, but no fold-2; number at least two folds from 1"),
        ({1: ""}, " has folds, but no fold-2; number at least two folds from 1"),
        (
            {1: "a/2.mp4,a,g2,fold-02"},
            ", line 3: the split is 'fold-02'; give one of train, val, test, left-out, fold-1, fold-2 and so on",
        ),
        ({4: ""}, ": class 'b' is in fold-1 but in no other fold, nor in train; add groups of it there"),
        ({5: "c/6.mp4,c,g6,test"}, ": class 'c' is in test but in no fold, nor in train; add groups of it there"),
        ({3: "", 4: ""}, ": the folds have 1 class(es), but at least two are needed; add groups of other classes"),
        ({2: ""}, ": test has no clips; make a new split, or move whole groups to it"),
        (
            {4: "b/5.mp4,b,g4,train"},
            ": group 'g4' is in fold-1 and, with 'b/5.mp4', in train; keep each group in one part",
        ),
    ],
)
def test_unusable_folds_raise(tmp_path: Path, change: dict[int, str], expected: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text("\n".join([HEADER, *(change.get(number, row) for number, row in enumerate(FOLD_ROWS)), ""]))
    with pytest.raises(DataError, match=exactly(f"'{path}'{expected}")):
        read_split(path)


def test_file_that_is_not_a_split_raises(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    with pytest.raises(DataError, match=exactly(f"can't read '{path}': No such file or directory")):
        read_split(path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="can't read '.*pipe.csv': it is a pipe or a device; give a CSV file"):
        read_split(tmp_path / "pipe.csv")
    path.write_text("path,group\n")
    expected = (
        f"'{path}' has no columns 'label' and 'split': it must have 'path', 'label', 'group' and 'split', its columns "
        "are 'path', 'group'"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        read_split(path)
