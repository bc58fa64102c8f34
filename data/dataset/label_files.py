"""Files that list the class of each clip: CSV tables, and the lists of UCF101, Kinetics and MMAction2."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.clip import check_printable
from data.dataset.layout import split_of_folder, split_of_list
from data.dataset.splits import LEFT_OUT, is_split
from data.dataset.tables import read_table
from data.dataset.video_files import VIDEO_SUFFIXES
from data.errors import DataError
from data.files import not_a_file

_VIDEO = "|".join(suffix[1:] for suffix in sorted(VIDEO_SUFFIXES, key=len, reverse=True))
_LINE = re.compile(rf'"?(?P<path>.+\.(?:{_VIDEO}))"?(?:[\s,;]+"?(?P<label>[^"]*[^"\s])"?)?', re.I)
_NUMBERS = re.compile(r"\d+([\s,;]+\d+)+")
_FORMS = "give a CSV with the columns path and label (also group and split, if known), or lines 'PATH LABEL'"


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What a file says about a clip."""

    label: str | None
    """None in a list of paths alone."""
    group: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """The rows of one or more label files."""

    rows: Mapping[str, LabelRow]
    """By path as listed; each has a class, and all of them or none have a group and a split."""
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> dict[str, str]:
        """The group of each path; empty if the files have no groups."""
        return {path: row.group for path, row in self.rows.items() if row.group is not None}

    @property
    def splits(self) -> dict[str, str]:
        """The split of each path; empty if the files have no splits."""
        return {path: row.split for path, row in self.rows.items() if row.split is not None}


def read_labels(files: Sequence[Path]) -> Labels:
    """Read the class of each clip, and its group and split where the files have them.

    A file is a CSV with a header, or has lines of a path and a class. A class that is a number gets its name from
    `classInd.txt` (`1 ApplyEyeMakeup`) or `label_map*.txt` (a name per line, from 0) beside the file, or else from the
    folder that its clips are in. Several files whose names differ in train, val and test give the splits.

    Raises:
        DataError: a file can't be read or has none of these forms, a number has no name, or two lines contradict.
    """
    rows: dict[str, LabelRow] = {}
    parts = [split_of_list(file.stem) for file in files]
    named = None not in parts and len(set(parts)) > 1
    for file, part in zip(files, parts, strict=True):
        names = _class_names(file.parent)
        for line, path, row in _read_rows(file):
            label = _named_class(file, line, row.label, names)
            found = replace(row, label=label, split=row.split or (part if named else None))
            if rows.setdefault(path, found) != found:
                raise DataError(
                    f"'{file}', line {line}: clip {path!r} is listed above with another label; keep one of the lines"
                )
    if not rows:
        raise DataError(f"'{files[0]}' lists no clips; {_FORMS}")
    for column in ("group", "split"):
        if len({getattr(row, column) is None for row in rows.values()}) > 1:
            raise DataError(f"only some of the label files have a {column} for each clip; add it to all, or to none")
    return _with_folder_names(rows, files[0])


def _read_rows(file: Path) -> Iterator[tuple[int, str, LabelRow]]:
    first = _first_line(file)
    header = [cell.strip(' "') for cell in first.split(",")]
    if "path" in header or "label" in header:
        yield from _read_csv(file, header)
    elif _LINE.fullmatch(first):
        yield from _read_list(file)
    else:
        raise DataError(f"'{file}' is not a list of labels, its first line is {first[:80]!r}; {_FORMS}")


def _first_line(file: Path) -> str:
    return next((line for _, line in _lines(file)), "")


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not empty."""
    if file.exists() and not file.is_file():
        raise DataError(f"can't read '{file}': {not_a_file(file, 'give a file of labels')}")
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise DataError(f"can't read '{file}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"'{file}' is not in UTF-8; save it as text in UTF-8") from error


def _read_csv(file: Path, header: Sequence[str]) -> Iterator[tuple[int, str, LabelRow]]:
    columns = ("path", "label", *(column for column in ("group", "split") if column in header))
    for line, cells in read_table(file, columns):
        row = dict(zip(columns, map(str.strip, cells), strict=True))
        for name in (cells[0], row["label"], row.get("group", "")):
            check_printable(name)
        yield line, cells[0], LabelRow(row["label"], row.get("group"), _split_name(file, line, row.get("split")))


def _split_name(file: Path, line: int, cell: str | None) -> str | None:
    if cell is None or is_split(cell):
        return cell
    split = split_of_folder(cell)
    if split is None:
        raise DataError(f"'{file}', line {line}: the split is {cell!r}; give one of train, val, test, {LEFT_OUT}")
    return split


def _read_list(file: Path) -> Iterator[tuple[int, str, LabelRow]]:
    for line, text in _lines(file):
        match = _LINE.fullmatch(text)
        if match is None:
            raise DataError(f"'{file}', line {line}: {text[:80]!r} is not 'PATH LABEL'; correct the line")
        label = match["label"]
        if label and _NUMBERS.fullmatch(label):
            raise DataError(f"'{file}', line {line}: {label!r} is more than one label; give each clip one")
        for name in (match["path"], label or ""):
            check_printable(name)
        yield line, match["path"], LabelRow(label)


def _class_names(folder: Path) -> dict[str, str]:
    """Return the class of each number as the files beside a list say; empty if there is no such file."""
    index = folder / "classInd.txt"
    if index.is_file():
        names = {}
        for line, text in _lines(index):
            number, _, name = text.partition(" ")
            if not number.isdecimal() or not name.strip():
                raise DataError(f"'{index}', line {line}: {text[:80]!r} is not 'NUMBER CLASS'; correct the line")
            names[str(int(number))] = name.strip()
        return names
    maps = sorted(folder.glob("label_map*.txt"))
    return {str(number): text for number, (_, text) in enumerate(_lines(maps[0]))} if len(maps) == 1 else {}


def _named_class(file: Path, line: int, label: str | None, names: Mapping[str, str]) -> str | None:
    if label is None or not label.isdecimal() or not names:
        return label
    name = names.get(str(int(label)))
    if name is None:
        raise DataError(f"'{file}', line {line}: class {label} has no name in the list of classes beside the file")
    return name


def _with_folder_names(rows: Mapping[str, LabelRow], file: Path) -> Labels:
    """Name classes that are numbers, and clips without a class, by the folders of the clips.

    Numbers remain, with a note, unless the clips of each number are in one folder that no other number has.
    """
    inside: defaultdict[str | None, set[str]] = defaultdict(set)
    for path, row in rows.items():
        inside[row.label].add(_folder(path))
    numbers = {label: folders for label, folders in inside.items() if label is not None and label.isdecimal()}
    names = {label: next(iter(folders)) for label, folders in numbers.items() if len(folders) == 1}
    distinct = len(numbers) == len(names) == len(set(names.values()))
    if not distinct or any(not name or split_of_folder(name) for name in names.values()):
        names = {}
    classes = {names.get(label, label) for label in inside if label is not None}
    for path, row in rows.items():
        # Where other lines have a class, a folder of another name need not be one.
        if row.label is None and (_folder(path) not in classes if classes else not _folder(path)):
            raise DataError(
                f"'{file}': no class is given for {path!r}; add it to the line, or put UCF101's classInd.txt beside "
                "the list"
            )
    labels = {p: _folder(p) if row.label is None else names.get(row.label, row.label) for p, row in rows.items()}
    return Labels({path: replace(row, label=labels[path]) for path, row in rows.items()}, _note(numbers, names))


def _folder(path: str) -> str:
    folders = path.replace("\\", "/").split("/")[:-1]
    return folders[-1] if folders else ""


def _note(numbers: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    changed = [f"{number} is {name}" for number, name in sorted(names.items()) if number != name]
    if changed:
        more = ", …" if len(changed) > 3 else ""
        return (f"class numbers are named by the folders of their clips: {', '.join(changed[:3])}{more}",)
    if names or not numbers:
        return ()
    return ("class numbers have no names; put UCF101's classInd.txt (NUMBER CLASS) beside the list to name them",)
