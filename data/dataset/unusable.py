"""Errors for folders that can't be read as clips in class folders: what was found instead, and what to do."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from data.dataset.layout import split_level
from data.dataset.video_files import FolderContents
from data.errors import DataError

_ARCHIVES = frozenset([".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"])
_PICTURES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".heic"])
_GIVE = "give the folder that has one sub-folder per class"


def check_folder(root: Path) -> None:
    """Check that the data folder is a folder.

    Raises:
        DataError: it is something else, or missing.
    """
    if root.is_dir():
        return
    if root.is_file() and (_suffix(root.name) in _ARCHIVES or zipfile.is_zipfile(root)):
        raise DataError(f"'{root}' is an archive; unzip it first, and {_GIVE}")
    if os.path.lexists(root):
        raise DataError(f"'{root}' is not a folder; {_GIVE}")
    raise DataError(f"no such folder: '{root}'; {_GIVE}")


def check_not_empty(root: Path, contents: FolderContents) -> None:
    """Check that there are videos.

    Raises:
        DataError: there are none; the message says what there is instead.
    """
    if contents.videos:
        return
    needed = "it needs one sub-folder per class, with video files in it"
    archives = [name for name in contents.others if _suffix(name) in _ARCHIVES]
    if archives:
        raise DataError(f"no clips in '{root}', but an archive, {archives[0]!r}; unzip it first: {needed}")
    if found := _counts(contents.others):
        raise DataError(
            f"no clips in '{root}': {found} found, but this takes videos; {needed} (join the frames of a clip to a "
            "video if these are frames)"
        )
    raise DataError(f"no clips in '{root}'; {needed}")


def notes_on_folders(contents: FolderContents) -> list[str]:
    """Return a note on each top folder that has pictures or archives, but no videos: it may be meant as a class."""
    with_videos = {video.partition("/")[0] for video in contents.videos}
    found = {
        name: _counts(file for file in contents.others if file.startswith(f"{name}/"))
        for name in contents.folders
        if name not in with_videos
    }
    return [
        f"folder {name!r} is not a class: {text} found in it, but no videos" for name, text in found.items() if text
    ]


def _counts(files: Iterable[str]) -> str:
    """Return how many pictures and archives of each kind there are, such as `10 .jpg and 1 .zip`."""
    kinds = Counter(suffix for name in files if (suffix := _suffix(name)) in _PICTURES | _ARCHIVES)
    return " and ".join(f"{count} {suffix}" for suffix, count in kinds.most_common(3))


def check_in_folders(root: Path, videos: Sequence[str]) -> None:
    """Check that no video lies at the top, outside the class folders.

    Raises:
        DataError: some or all do.
    """
    loose = [path for path in videos if "/" not in path]
    if not loose:
        return
    named = f"{loose[0]!r}" if len(loose) == 1 else f"the first is {loose[0]!r}"
    count = "1 video" if len(loose) == 1 else f"{len(loose)} videos"
    if len(loose) == len(videos):
        raise DataError(
            f"{count} in '{root}' and no class folders, {named}; put each video into a folder named as its class, or "
            "list the classes with --labels FILE"
        )
    raise DataError(
        f"{count} beside the class folders of '{root}', {named}; move each into a class folder or elsewhere, or list "
        "the classes of all videos with --labels FILE"
    )


def check_two_classes(root: Path, labels: Iterable[str], videos: Sequence[str]) -> None:
    """Check that there are two classes or more.

    Raises:
        DataError: there is one; the message names a folder below that has more, if there is one.
    """
    found = sorted(set(labels))
    if len(found) > 1:
        return
    raise DataError(
        f"only one class in '{root}', {found[0]!r}; it needs two or more sub-folders with video files"
        f"{_deeper(root, videos)}"
    )


def _deeper(root: Path, videos: Sequence[str]) -> str:
    """Return a question that names the folder below `root` that holds all videos, if it has folders of its own."""
    top = os.path.commonpath([os.path.dirname(path) for path in videos])
    below = [path[len(top) + 1 :] for path in videos]
    names = sorted({path.partition("/")[0] for path in below if "/" in path})
    if not top or len(names) < 2:
        return ""
    kind = "classes" if split_level(below) is None else "split folders"
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"; did you mean '{root / top}'? {len(names)} {kind} there ({shown})"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
