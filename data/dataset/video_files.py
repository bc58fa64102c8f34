"""The video files below a folder, and what else lies there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.clip import check_printable
from data.errors import DataError

_SUFFIX_NAMES = (
    "264 265 3g2 3gp 3gpp amv asf avi divx dv f4v flv gif h264 h265 hevc ivf m1v m2t m2ts m2v "
    "m4v mj2 mjpeg mjpg mk3d mkv mov mp4 mpe mpeg mpg mpv mts mxf nut ogm ogv qt rm rmvb trp "
    "ts vob webm wm wmv wtv y4m"
)
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _SUFFIX_NAMES.split())
"""Lower-case file suffixes of the containers and raw streams that FFmpeg reads."""


@dataclass(frozen=True, slots=True)
class FolderContents:
    """The visible files and folders below a folder, by path relative to it."""

    videos: tuple[str, ...]
    """Files with a suffix of VIDEO_SUFFIXES."""
    others: tuple[str, ...]
    """Other files, and links to nothing."""
    folders: tuple[str, ...]
    """Names of the folders at the top."""

    def ignored(self) -> tuple[str, ...]:
        """Return the files in folders that are not videos; a folder at the top without any video counts as a whole.

        Files at the top that are not videos, such as lists, are not meant.
        """
        with_videos = {video.partition("/")[0] for video in self.videos if "/" in video}
        files = [name for name in self.others if name.partition("/")[0] in with_videos]
        return tuple(sorted(files + [f"{name}/" for name in self.folders if name not in with_videos]))


def list_folder(root: Path) -> FolderContents:
    """List a folder and all folders below it, except hidden files and links to a folder that they are in.

    Raises:
        DataError: a folder can't be read, or a name can't be written on one line.
    """
    videos: list[str] = []
    others: list[str] = []
    folders: list[str] = []
    for entry in _visible_entries(root):
        if os.path.isdir(entry):
            folders.append(entry.name)
            for name, is_file in _walk(entry, entry.name, (os.path.realpath(root),)):
                (videos if is_file and has_video_suffix(name) else others).append(name)
        elif has_video_suffix(entry.name) and os.path.isfile(entry):
            check_printable(entry.name)
            videos.append(entry.name)
        else:
            others.append(entry.name)
    return FolderContents(tuple(sorted(videos)), tuple(others), tuple(folders))


def has_video_suffix(name: str) -> bool:
    """Return whether a file name ends as those of videos do."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _visible_entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"can't read the folder '{os.fspath(folder)}': {error.strerror}") from error


def _walk(folder: os.PathLike[str], name: str, parents: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Yield the name of every entry below `folder` that isn't a folder, and whether it is a file.

    `parents` are the real paths of the folders on the way to this one: a link back to one of them is skipped.
    """
    check_printable(name)
    real = os.path.realpath(folder)
    if real in parents:
        return
    for entry in _visible_entries(folder):
        below = f"{name}/{entry.name}"
        # DirEntry.is_dir raises for a link to itself.
        if os.path.isdir(entry):
            yield from _walk(entry, below, (*parents, real))
        else:
            check_printable(below)
            yield below, os.path.isfile(entry)
