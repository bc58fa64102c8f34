"""What is wrong with a clip, by name: from the facts of its decoding, from its stored frames, from its copies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.clip import Clip
from data.errors import DataError
from data.quality.similarity import Signature, near_duplicates
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.video.decode import ClipFacts


@dataclass(frozen=True, slots=True)
class DefectKind:
    """One sort of defect and what a person does about it."""

    name: str
    meaning: str
    """A sentence without its full stop."""
    mend: str


DEFECT_KINDS = (
    DefectKind("unreadable", "FFmpeg decodes none of it", "fetch or export it again, or remove it"),
    DefectKind("no video stream", "It holds sound or text alone", "put the video in its place, or remove it"),
    DefectKind(
        "truncated",
        "Only a part of its frames decodes",
        "copy it again from where it came; where half of it is left, that is trained on",
    ),
    DefectKind("one frame", "It is a picture, not a clip", "put the video in its place, or remove it"),
    DefectKind("black", "There is nothing to see", "remove it"),
    DefectKind("still", "Nothing moves", "look at it: a photograph or a frozen recording teaches no movement"),
    DefectKind("too short", "It ends before an exercise can be seen", "remove it, or lower the limit (--min-seconds)"),
    DefectKind(
        "too long",
        "Its frames are kept so far apart that they miss the movement",
        "cut it into parts, or raise the limit (--max-seconds)",
    ),
    DefectKind(
        "two labels", "The same clip stands in two classes", "keep the one whose label is right, remove the other"
    ),
    DefectKind("duplicate", "Another file has the same bytes", "remove one of the two, or put both into one group"),
    DefectKind(
        "near-duplicate",
        "Another file shows almost the same pictures at the same moments, as a copy encoded anew does",
        "compare them, then remove one of the two, or put both into one group",
    ),
)
"""Every defect there is, the gravest first."""

OK, SUSPECT, UNUSABLE = "ok", "suspect", "unusable"
"""What a clip is: without defects; with some, but with frames; without frames, whatever its defect's name."""

_BLOCK = 8
"""Side of the blocks, in stored pixels, whose mean brightness is compared over time."""

_WINDOW = 16
"""Side of the windows, in stored pixels, in which one shift is estimated."""

_MOST_FRAMES = 64
"""As many frames, equally spaced, are enough to see a shift, and bound the memory that it takes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a clip becomes suspect. The defaults for `still` and `black` were chosen by looking at clips."""

    min_seconds: float = 0.5
    """A shorter clip is `too short`."""

    max_seconds: float = 60.0
    """A longer clip is `too long`."""

    black_level: float = 24.0
    """0 to 255: a frame is black where hardly any of it is brighter in any colour. Video black is 0 or 16."""

    black_share: float = 0.8
    """A clip is `black` where at least this share of its frames is: one that fades in is not."""

    still_levels: float = 12.0
    """0 to 255: where the brightness of a small block changes by more, something moves. Compression flickers by
    up to 10."""

    still_shift: float = 0.05
    """Stored pixels: where a part of the picture shifts by more, something moves. Seen at a short side of 128:
    0.26 and more where a trunk breathes by 4 of 720 lines, up to 0.04 in photographs under coarse compression."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"the limit {field.name} must be a number of 0 or more, not {value}")
        if self.min_seconds >= self.max_seconds:
            raise DataError(
                f"clips can't be at least {self.min_seconds:g} s and at most {self.max_seconds:g} s long: "
                "give a shortest length below the longest"
            )
        if self.black_level >= 255 or self.still_levels >= 255:
            raise DataError("brightness goes to 255: give black_level and still_levels below it")
        if not 0 < self.black_share <= 1:
            raise DataError(f"the limit black_share must be above 0 and at most 1, not {self.black_share:g}")


@dataclass(frozen=True, slots=True, order=True)
class Defect:
    """One thing that is wrong with one clip."""

    path: str
    name: str
    """One of DEFECT_KINDS."""
    detail: str
    """What was seen, in words."""
    other: str = ""
    """For copies, the path of the clip that this one repeats or contradicts."""


def find_defects(
    clips: Sequence[Clip],
    build: BuildReport,
    store: FrameStore,
    signatures: Mapping[str, Signature],
    limits: Limits,
    *,
    progress: bool = False,
) -> list[Defect]:
    """What is wrong with these clips, sorted by path and name; reads the frames of each stored clip once.

    A clip has a name at most once, and no name that follows from another: what has one frame is not called `still`
    and `too short` too, nor is what is black called `still`. Of copies, all but the first by path are named; under
    `two labels` every one is, since which label is right can't be told.

    Args:
        clips: the clips to judge.
        build: what the store's build said of them; clips that it does not speak of are not judged.
        store: the frames of `build`.
        signatures: of `build`, by digest.
        limits: where a clip becomes suspect.
        progress: show a bar.

    Raises:
        DataError: the store lacks a clip's frames.
    """
    labels = {clip.path: clip.label for clip in sorted(clips)}
    stored = {clip.path: clip for clip in build.stored if clip.path in labels}
    copies: defaultdict[str, list[str]] = defaultdict(list)
    for path in labels:
        if path in stored:
            copies[stored[path].digest].append(path)
    found = [Defect(clip.path, clip.defect, clip.reason) for clip in build.failed if clip.path in labels]
    visible: dict[str, Signature] = {}
    for digest, paths in tqdm(copies.items(), desc="checks", unit="clip", disable=not progress):
        frames = np.asarray(store.read(digest))
        seen = dict(defects_of_file(stored[paths[0]].facts, limits)) | dict(defects_of_frames(frames, limits))
        if "one frame" in seen:
            seen = {name: detail for name, detail in seen.items() if name not in ("still", "too short")}
        found += [Defect(path, name, detail) for path in paths for name, detail in seen.items()]
        if "black" not in seen:
            visible[paths[0]] = signatures[digest]
    found += _copies(labels, copies.values(), visible)
    return sorted(found)


def defects_of_file(facts: ClipFacts, limits: Limits) -> Iterator[tuple[str, str]]:
    """Names and details of what the facts of a clip's decoding tell."""
    if facts.damage:
        yield "truncated", facts.damage
    if facts.frames == 1 and not facts.sought:
        yield "one frame", "it has a single frame"
    if facts.duration < limits.min_seconds:
        yield "too short", f"it lasts {facts.duration:.2f} s, less than {limits.min_seconds:g} s"
    if facts.duration > limits.max_seconds:
        yield "too long", f"it lasts {facts.duration:.0f} s, more than {limits.max_seconds:g} s"


def defects_of_frames(frames: np.ndarray, limits: Limits) -> Iterator[tuple[str, str]]:
    """Names and details of what the stored frames, uint8 `(F, H, W, 3)`, show; one frame alone can't be `still`."""
    blocks = block_means(frames)
    black = black_frames(blocks, limits.black_level)
    if black >= limits.black_share * len(frames):
        yield "black", f"{black} of the {len(frames)} frames kept are black"
    elif len(frames) > 1 and not moves(frames, blocks, limits):
        yield "still", f"nothing moves in the {len(frames)} frames kept"


def moves(frames: np.ndarray, blocks: np.ndarray, limits: Limits) -> bool:
    """Whether anything moves in frames uint8 `(F, H, W, 3)`; `blocks` are their `block_means`."""
    return largest_change(blocks) > limits.still_levels or largest_shift(frames) > limits.still_shift


def block_means(frames: np.ndarray) -> np.ndarray:
    """Mean colours of blocks of 8 x 8 pixels: frames uint8 `(F, H, W, 3)` to uint8 `(F, ceil(H/8), ceil(W/8), 3)`."""
    return np.stack([np.asarray(Image.fromarray(frame).reduce(_BLOCK)) for frame in frames])


def black_frames(blocks: np.ndarray, level: float) -> int:
    """How many frames are black: at most one block in fifty (a mark, a clock) is brighter than `level` in a colour."""
    bright = blocks.max(axis=3) > level
    return int((bright.mean(axis=(1, 2)) <= 0.02).sum())


def largest_change(blocks: np.ndarray) -> float:
    """The range of brightness over time, 0 to 255, that one block in a hundred exceeds."""
    brightness = blocks.mean(axis=3, dtype=np.float32)
    return float(np.quantile(np.ptp(brightness, axis=0), 0.99))


def largest_shift(frames: np.ndarray) -> float:
    """How far a part of the picture shifts against the mean picture, in stored pixels (root mean square over time).

    Compression changes pixels too, but not as a shift would. So each window's shift, by least squares on the
    gradients (Lucas and Kanade, "An iterative image registration technique", 1981), counts only as far as it
    explains the change: an underestimate where a window moves in part. Wide movements are no shifts of one window:
    for those see `largest_change`.

    Args:
        frames: uint8 `(F, H, W, 3)`.
    """
    grey = frames[:: math.ceil(len(frames) / _MOST_FRAMES)].mean(axis=3, dtype=np.float32)
    picture = grey.mean(axis=0)
    if min(picture.shape) < 2:
        return 0.0
    side = min(_WINDOW, *picture.shape)
    down, right = np.gradient(picture)
    change = grey - picture
    # Of gradients squared: a window flatter than this tells no shift.
    noise = 25.0 * side * side
    xx, yy, xy = (_window_sums(product, side) for product in (right * right, down * down, right * down))
    xx, yy = xx + noise, yy + noise
    x, y, energy = (_window_sums(product, side) for product in (change * right, change * down, change * change))
    determinant = xx * yy - xy * xy
    shift_x, shift_y = (yy * x - xy * y) / determinant, (xx * y - xy * x) / determinant
    explained = (shift_x * x + shift_y * y).sum(axis=0)
    # Rounding to whole levels changes each pixel by a quarter of a squared level or so.
    share = explained / (energy.sum(axis=0) + 0.25 * side * side * len(grey))
    shifts = np.sqrt((shift_x**2 + shift_y**2).mean(axis=0)) * share
    # The second largest: one window alone may hold a burnt-in clock.
    return float(np.sort(shifts, axis=None)[-2:][0])


def _window_sums(values: np.ndarray, side: int) -> np.ndarray:
    """`(..., H, W)` to sums over windows `(..., H // side, W // side)`; what is left over at the edges goes."""
    *lead, height, width = values.shape
    rows, columns = height // side, width // side
    windows = values[..., : rows * side, : columns * side].reshape(*lead, rows, side, columns, side)
    return windows.sum(axis=(-3, -1))


def _copies(
    labels: Mapping[str, str], copies: Iterable[list[str]], signatures: Mapping[str, Signature]
) -> Iterator[Defect]:
    """Copies by bytes (lists of paths, sorted) and by looks (signatures of each list's first)."""
    same = {paths[0]: paths for paths in copies}
    shown: defaultdict[str, set[str]] = defaultdict(set)
    nearest: dict[str, tuple[float, str]] = {}
    for pair in near_duplicates(signatures):
        shown[pair.first].add(pair.second)
        shown[pair.second].add(pair.first)
        nearest[pair.second] = min(nearest.get(pair.second, (math.inf, "")), (pair.distance, pair.first))
    for path, (distance, other) in nearest.items():
        yield Defect(path, "near-duplicate", f"it looks like {other} at every moment ({distance:.0%} differs)", other)
    for first, paths in same.items():
        for path in paths[1:]:
            yield Defect(path, "duplicate", f"it has the same bytes as {first}", first)
        alike = sorted(paths + [copy for other in shown[first] for copy in same[other]])
        for path in paths:
            contrary = [other for other in alike if labels[other] != labels[path]]
            if contrary:
                other = contrary[0]
                yield Defect(path, "two labels", f"it stands under {labels[other]!r} too, as {other}", other)


def clip_status(has_frames: bool, defects: Sequence[Defect]) -> str:
    """What a clip with these defects is: OK, SUSPECT or UNUSABLE."""
    if not has_frames:
        return UNUSABLE
    return SUSPECT if defects else OK
