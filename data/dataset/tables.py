"""Read CSV files with a header."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.errors import DataError
from data.files import not_a_file


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the line number and the cells in `columns` of each row of a CSV file with a header, in UTF-8.

    Raises:
        DataError: the file can't be read, lacks a column, has an empty cell in `columns`, or has a row with more cells
            than the header.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"can't read '{path}': {not_a_file(path, 'give a CSV file')}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or (), columns)
            for row in reader:
                where = f"'{path}', line {reader.line_num}"
                if None in row:
                    raise DataError(f"{where}: more cells than columns; put a name with a comma in quotes")
                cells = tuple(row[column] or "" for column in columns)
                for column, cell in zip(columns, cells, strict=True):
                    if not cell.strip():
                        raise DataError(f"{where}: the column {column!r} is empty; fill it in")
                yield reader.line_num, cells
    except OSError as error:
        raise DataError(f"can't read '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not in UTF-8; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"'{path}', line {reader.reader.line_num}: not CSV ({error}); correct the line") from error


def _check_columns(path: Path, found: Sequence[str], needed: Sequence[str]) -> None:
    twice = [column for column in needed if found.count(column) > 1]
    if twice:
        raise DataError(f"'{path}' has the column {twice[0]!r} twice; remove one of them")
    missing = [column for column in needed if column not in found]
    if not missing:
        return
    near = difflib.get_close_matches(missing[0], found, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    there = ", ".join(map(repr, found)) or "none"
    columns = "columns" if len(missing) > 1 else "column"
    raise DataError(
        f"'{path}' has no {columns} {_listed(missing)}: it must have {_listed(needed)}, its columns are {there}{hint}"
    )


def _listed(names: Sequence[str]) -> str:
    *first, last = map(repr, names)
    return f"{', '.join(first)} and {last}" if first else last
