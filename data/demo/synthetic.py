"""Generated demo clips: an articulated figure that does exercises, filmed in random rooms.

They stand in for real data where there is none: files of several containers, sizes and frame rates, imbalanced
classes, and several clips of each source (one person in one room), so that a split by clip leaks. The two
`arm circle` classes are each other's time reverse: no single frame tells them apart, nor does any average.
"""

from __future__ import annotations

import colorsys
import csv
import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from data.errors import DataError

TIME_PAIR = ("arm circle forward", "arm circle backward")
"""The two classes that only the order of frames tells apart."""

_GENERATOR_VERSION = 1
"""Raise this when the same parameters give other clips: a folder of the old ones is then not filled up."""

_UNFINISHED = ".unfinished"
_FRAME_SIZES = ((160, 120), (192, 108), (176, 144), (120, 160), (108, 192), (144, 144))
_FRAME_RATES = tuple(
    Fraction(*rate) for rate in ((24, 1), (24000, 1001), (25, 1), (30000, 1001), (30, 1), (50, 1), (60, 1))
)
_CONTAINERS = {".mp4": "mp4", ".MOV": "mov", ".mkv": "matroska"}
_SUPERSAMPLING = 2
_SWAY = 2.0
"""Largest way that a hand-held camera drifts, in pixels of the video."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class DemoClip:
    """One generated clip."""

    path: str
    """POSIX path relative to the demo folder."""
    label: str
    """The class."""
    source: str
    """Person and room; all clips of a source show one class."""


@dataclass(frozen=True)
class _Parameters:
    classes: int
    clips_per_class: int
    seed: int
    generator: int = _GENERATOR_VERSION


def plan_demo(classes: int, clips_per_class: int, seed: int) -> list[DemoClip]:
    """The clips that `write_demo` makes of these parameters.

    The time pair's two classes have `clips_per_class` clips each, the others fewer and fewer down to a third.
    A source gives 2 to 4 clips, save in classes too small for that: each has at least 3 sources, and 4 when
    `clips_per_class` is 12 or more.

    Raises:
        DataError: a parameter out of range.
    """
    if not len(TIME_PAIR) <= classes <= len(_EXERCISES):
        raise DataError(f"there are {len(_EXERCISES)} demo classes: ask for 2 to {len(_EXERCISES)}, not {classes}")
    if clips_per_class < 3:
        raise DataError(f"clips per class must be 3 or more, for three splits, not {clips_per_class}")
    if seed < 0:
        raise DataError(f"the seed must be 0 or more, not {seed}")
    fewest_sources = 4 if clips_per_class >= 12 else 3
    plan: list[DemoClip] = []
    for rank, exercise in enumerate(_EXERCISES[:classes]):
        rarity = max(0, rank - 1) / max(1, classes - 2)
        clips = max(fewest_sources, round(clips_per_class * 3**-rarity))
        plan += _plan_class(exercise.name, clips, fewest_sources, seed)
    return plan


def _plan_class(label: str, clips: int, fewest_sources: int, seed: int) -> Iterator[DemoClip]:
    sizes = _source_sizes(clips, max(fewest_sources, round(clips / 2.5)), _rng(seed, label))
    for number, size in enumerate(sizes, start=1):
        source = f"{label.replace(' ', '_')}-{number:02}"
        suffix = _rng(seed, source, "container").choice(list(_CONTAINERS), p=[0.8, 0.1, 0.1])
        for take in range(1, size + 1):
            yield DemoClip(f"{label}/{source}-{take}{suffix}", label, source)


def _source_sizes(clips: int, sources: int, rng: np.random.Generator) -> list[int]:
    """Clips of each source: as equal as can be, then some clips moved, between 2 and 4 a source if it allows."""
    sizes = [clips // sources + (place < clips % sources) for place in range(sources)]
    for giver, taker in rng.integers(0, sources, (sources, 2)):
        if giver != taker and sizes[giver] > 2 and sizes[taker] < 4:
            sizes[giver] -= 1
            sizes[taker] += 1
    return sizes


def write_demo(
    out: Path,
    *,
    classes: int = 6,
    clips_per_class: int = 48,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> list[DemoClip]:
    """Write demo clips as `out/CLASS/FILE` and `out/sources.csv` (columns `path` and `group`, the source).

    The same parameters give the same pixels. What is there is kept: a second call does nothing, one after a
    kill makes what is missing. `out/demo.json` holds the parameters and is written last.

    Args:
        out: the demo folder; made if need be.
        classes: number of classes, 2 to 10; the first two are the time pair.
        clips_per_class: clips of the largest class.
        seed: another seed is other people, rooms and takes.
        workers: processes; default: one a core.
        progress: show a bar.

    Raises:
        DataError: a parameter out of range, a folder that holds anything else, or demo clips of other
            parameters, or that can't be written.
    """
    plan = plan_demo(classes, clips_per_class, seed)
    parameters = _Parameters(classes, clips_per_class, seed)
    try:
        _check_folder(out, parameters)
        missing = [clip for clip in plan if not (out / clip.path).exists()]
        if missing or not all((out / name).exists() for name in ("sources.csv", "demo.json")):
            with _unfinished(out, parameters):
                write_clips(out, missing, seed, workers=workers, progress=progress)
                _write_sources(out, plan)
    except OSError as error:
        raise DataError(f"demo clips can't be written to '{out}' ({error.strerror}): name another folder") from error
    return plan


def _check_folder(out: Path, parameters: _Parameters) -> None:
    """Nothing but clips of these parameters may be in `out`."""
    if not out.exists():
        return
    for marker in (out / "demo.json", out / _UNFINISHED / "demo.json"):
        if marker.exists():
            return _check_same(out, marker, parameters)
    if any(entry.name != _UNFINISHED for entry in out.iterdir()):
        raise DataError(f"'{out}' holds files that are no demo clips: name an empty or a new folder")


def _check_same(out: Path, marker: Path, parameters: _Parameters) -> None:
    try:
        found = json.loads(marker.read_text())
    except ValueError:
        found = None
    if found != asdict(parameters):
        raise DataError(
            f"'{out}' holds demo clips made with {_listed(found)}, not {_listed(asdict(parameters))}: "
            "delete it or name another folder"
        )


def _listed(parameters: object) -> str:
    if not isinstance(parameters, Mapping):
        return "unknown parameters"
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


@contextmanager
def _unfinished(out: Path, parameters: _Parameters) -> Iterator[None]:
    """Mark `out` as ours from the start, and as finished when all went well."""
    aside = out / _UNFINISHED
    aside.mkdir(parents=True, exist_ok=True)
    _write_marker(out, aside / "demo.json", parameters)
    yield
    _write_marker(out, out / "demo.json", parameters)
    shutil.rmtree(aside)


@contextmanager
def _aside(out: Path, target: Path) -> Iterator[Path]:
    """Where to write a file that is then put in its place at one stroke."""
    file = out / _UNFINISHED / uuid.uuid4().hex
    yield file
    target.parent.mkdir(exist_ok=True)
    os.replace(file, target)


def _write_marker(out: Path, marker: Path, parameters: _Parameters) -> None:
    with _aside(out, marker) as file:
        file.write_text(json.dumps(asdict(parameters)) + "\n")


def _write_sources(out: Path, plan: Sequence[DemoClip]) -> None:
    with _aside(out, out / "sources.csv") as file, file.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("path", "group"))
        rows.writerows((clip.path, clip.source) for clip in plan)


def write_clips(
    out: Path, clips: Sequence[DemoClip], seed: int, *, workers: int | None = None, progress: bool = True
) -> None:
    """Write some clips of a plan, and nothing beside them; arguments are those of `write_demo`."""
    aside = out / _UNFINISHED
    aside.mkdir(parents=True, exist_ok=True)
    count = max(1, min(workers or os.cpu_count() or 1, len(clips)))
    # Never fork: the caller may hold threads, and a forked child can deadlock on their locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
        written = pool.map(functools.partial(_write_clip, out, seed), clips)
        for _ in tqdm(written, total=len(clips), desc="demo clips", unit="clip", disable=not progress):
            pass
    with suppress(OSError):  # Of a whole demo it holds the mark.
        aside.rmdir()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_clip(out: Path, seed: int, clip: DemoClip) -> None:
    """Runs in a worker process."""
    with _aside(out, out / clip.path) as file:
        _encode(file, _CONTAINERS[Path(clip.path).suffix], _film(clip, seed))


@dataclass(frozen=True)
class _Take:
    frames: Iterator[np.ndarray]
    """uint8 `(H, W, 3)` each."""
    size: tuple[int, int]
    """Width and height in pixels."""
    rate: Fraction
    """Frames a second."""
    quality: int
    """x264's constant rate factor."""


def _encode(file: Path, container: str, take: _Take) -> None:
    # The same clip is another file each time without bitexact (Matroska draws a random id) and with x264's mbtree,
    # whose vector code gives other results from call to call on pictures as small as these.
    with av.open(str(file), "w", format=container, container_options={"fflags": "bitexact"}) as output:
        options = {"crf": str(take.quality), "preset": "veryfast", "x264-params": "mbtree=0"}
        stream = output.add_stream("libx264", rate=take.rate, options=options)
        stream.width, stream.height = take.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in take.frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())


def _rng(seed: int, *names: str) -> np.random.Generator:
    """A stream of random numbers that depends on the seed and the names alone."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


class _Pose(NamedTuple):
    """Angles of the limbs in degrees.

    A limb's first angle turns it in the plane of walking: 0 hangs down, 90 points forward, 180 up. Its `out`
    angle lifts it sideways, away from the body. Arms move alike; `back_` is the right leg.
    """

    trunk: float = 0.0
    """0 is upright, 90 leans forward to the level, -90 lies on the back."""
    arm: float = 0.0
    forearm: float = 6.0
    arm_out: float = 8.0
    forearm_out: float = 6.0
    thigh: float = 2.0
    shin: float = -2.0
    foot: float = 82.0
    back_thigh: float = 2.0
    back_shin: float = -2.0
    back_foot: float = 82.0
    leg_out: float = 5.0
    lift: float = 0.0
    """Metres above the floor."""

    def towards(self, other: _Pose, way: float) -> _Pose:
        """0 of the way is this pose, 1 the other."""
        return _Pose(*(a + way * (b - a) for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class _Exercise:
    name: str
    rest: _Pose
    peak: _Pose
    """The cycle goes from rest to peak and back."""
    yaw: tuple[float, float]
    """The camera's angle: 0 is in front, 90 at the person's left side."""
    seconds: float = 1.0
    """Shortest time of one cycle; circles are timed by the clip."""
    circle: int = 0
    """1 or -1: the arms go round in full circles, from down by the sides outwards, or the other way."""
    support: str = "feet"
    """What rests on the floor: `feet`, `hips`, or `hands` and toes."""
    weight: str = ""
    """`barbell` or `dumbbells` in the hands."""

    def pose(self, phase: float) -> _Pose:
        """The pose after so many cycles."""
        if self.circle:
            arm, out = _circling(2 * np.pi * self.circle * phase)
            return self.rest._replace(arm=arm, forearm=arm, arm_out=out, forearm_out=out)
        return self.rest.towards(self.peak, 0.5 - 0.5 * np.cos(2 * np.pi * phase))


def _circling(turn: float) -> tuple[float, float]:
    """An arm's two angles in degrees after a turn in radians: down, out, up, in front.

    The arm goes round a cone about an axis that points forward and out: seen from the front the hand goes one
    way far from the body and the other way close to it.
    """
    axis, opening = np.radians((48.0, 68.0))
    round_axis = np.sin(opening) * np.array([-np.sin(axis) * np.sin(turn), np.cos(axis) * np.sin(turn), -np.cos(turn)])
    x, y, z = np.cos(opening) * np.array([np.cos(axis), np.sin(axis), 0.0]) + round_axis
    return float(np.degrees(np.arctan2(x, -z))), float(np.degrees(np.arcsin(y)))


_STANDING = _Pose()
_SQUATTING = _Pose(
    trunk=38, arm=88, forearm=90, arm_out=4, forearm_out=0, thigh=92, shin=-28, back_thigh=92, back_shin=-28,
    foot=86, back_foot=86, leg_out=14,
)  # fmt: skip
_LUNGING = _Pose(
    trunk=4, arm=-14, arm_out=22, forearm=70, forearm_out=-24,
    thigh=88, shin=-2, foot=88, back_thigh=-14, back_shin=-86, back_foot=20, leg_out=3,
)  # fmt: skip
_PULLING = _Pose(
    trunk=66, arm=-4, forearm=0, thigh=58, shin=-12, back_thigh=58, back_shin=-12, leg_out=6,
)  # fmt: skip
_BENT_KNEES = {
    "thigh": 138.0,
    "back_thigh": 138.0,
    "shin": 34.0,
    "back_shin": 34.0,
    "foot": 88.0,
    "back_foot": 88.0,
}
_STRAIGHT_LINE = {"foot": 12.0, "back_foot": 12.0, "leg_out": 3.0}

_EXERCISES = (
    _Exercise(TIME_PAIR[0], _STANDING, _STANDING, yaw=(-12, 12), circle=1),
    _Exercise(TIME_PAIR[1], _STANDING, _STANDING, yaw=(-12, 12), circle=-1),
    _Exercise("squat", _STANDING._replace(leg_out=14), _SQUATTING, yaw=(35, 90), seconds=1.2),
    _Exercise(
        "jumping jack",
        _STANDING._replace(leg_out=3),
        _STANDING._replace(arm_out=168, forearm_out=174, leg_out=27, lift=0.05),
        yaw=(-25, 25),
        seconds=0.8,
    ),
    _Exercise(
        "push Up",
        _Pose(trunk=76, thigh=-76, shin=-76, back_thigh=-76, back_shin=-76, **_STRAIGHT_LINE),
        _Pose(trunk=88, thigh=-88, shin=-88, back_thigh=-88, back_shin=-88, **_STRAIGHT_LINE),
        yaw=(55, 100),
        seconds=1.0,
        support="hands",
    ),
    _Exercise(
        "sit-up",
        _Pose(trunk=-86, arm=196, arm_out=38, forearm=290, forearm_out=10, leg_out=7, **_BENT_KNEES),
        _Pose(trunk=30, arm=80, arm_out=38, forearm=174, forearm_out=10, leg_out=7, **_BENT_KNEES),
        yaw=(60, 100),
        seconds=1.2,
        support="hips",
    ),
    _Exercise("lunge", _STANDING._replace(leg_out=3), _LUNGING, yaw=(50, 95), seconds=1.2),
    _Exercise(
        "deadlift",
        _STANDING._replace(arm=6, forearm=8),
        _PULLING,
        yaw=(40, 90),
        seconds=1.2,
        weight="barbell",
    ),
    _Exercise(
        "shoulder press",
        _STANDING._replace(arm=10, arm_out=62, forearm=180, forearm_out=-4),
        _STANDING._replace(arm=10, arm_out=166, forearm=180, forearm_out=4),
        yaw=(-35, 35),
        seconds=1.0,
        weight="dumbbells",
    ),
    _Exercise(
        "barbell biceps curl",
        _STANDING._replace(arm=2, forearm=14),
        _STANDING._replace(arm=12, forearm=148),
        yaw=(30, 80),
        seconds=1.0,
        weight="barbell",
    ),
)
_BY_NAME = {exercise.name: exercise for exercise in _EXERCISES}


@dataclass(frozen=True)
class _Body:
    """Lengths in metres."""

    torso: float = 0.50
    neck: float = 0.10
    head: float = 0.115
    shoulder: float = 0.19
    upper_arm: float = 0.30
    forearm: float = 0.28
    hip: float = 0.10
    thigh: float = 0.43
    shin: float = 0.42
    foot: float = 0.17
    limb: float = 0.056
    """Radius of an upper arm; all other radii go by it."""

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Body:
        build = {length: metres * rng.uniform(0.93, 1.07) for length, metres in asdict(cls()).items()}
        return cls(**build | {"limb": cls.limb * rng.uniform(0.85, 1.25)})


Joints = dict[str, np.ndarray]
"""Places of the joints: metres forward, to the person's left, and up from the floor below them."""


def _direction(angle: float, out: float, side: int) -> np.ndarray:
    a, o = np.radians((angle, out))
    return np.array([np.sin(a) * np.cos(o), side * np.sin(o), -np.cos(a) * np.cos(o)])


def _joints(pose: _Pose, body: _Body, support: str) -> Joints:
    lean = np.radians(pose.trunk)
    up = np.array([np.sin(lean), 0.0, np.cos(lean)])
    left = np.array([0.0, 1.0, 0.0])
    at: Joints = {"hips": np.zeros(3), "chest": body.torso * up}
    at["head"] = at["chest"] + (body.neck + body.head) * up
    for name, side in (("left", 1), ("right", -1)):
        prefix = "" if name == "left" else "back_"
        thigh, shin, foot = (getattr(pose, prefix + limb) for limb in ("thigh", "shin", "foot"))
        at[f"{name} hip"] = side * body.hip * left
        at[f"{name} knee"] = at[f"{name} hip"] + body.thigh * _direction(thigh, pose.leg_out, side)
        at[f"{name} ankle"] = at[f"{name} knee"] + body.shin * _direction(shin, pose.leg_out, side)
        at[f"{name} toe"] = at[f"{name} ankle"] + body.foot * _direction(foot, 8.0, side)
        at[f"{name} shoulder"] = at["chest"] + side * body.shoulder * left - 0.05 * up
        at[f"{name} elbow"] = at[f"{name} shoulder"] + body.upper_arm * _direction(pose.arm, pose.arm_out, side)
        at[f"{name} hand"] = at[f"{name} elbow"] + body.forearm * _direction(pose.forearm, pose.forearm_out, side)
    return _supported(at, pose, body, support)


def _supported(at: Joints, pose: _Pose, body: _Body, support: str) -> Joints:
    """Move the body so that what carries it rests on the floor and does not slide."""
    if support == "hips":
        shift = np.array([0.0, 0.0, 2.0 * body.limb])
    else:
        sole = 0.6 * body.limb
        lowest = min(at[f"{side} {part}"][2] for side in ("left", "right") for part in ("ankle", "toe"))
        shift = np.array([-at["right toe"][0], 0.0, sole - lowest + pose.lift])
    at = {joint: place + shift for joint, place in at.items()}
    if support == "hands":
        for name, side in (("left", 1), ("right", -1)):
            reach = 0.97 * (body.torso + body.thigh + body.shin)
            hand = np.array([reach, side * 1.35 * body.shoulder, body.limb])
            at[f"{name} elbow"], at[f"{name} hand"] = _bend_arm(at[f"{name} shoulder"], hand, body, side)
    return at


def _bend_arm(shoulder: np.ndarray, hand: np.ndarray, body: _Body, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Elbow and hand of an arm that reaches for a place: inverse kinematics of two bones."""
    span = float(np.linalg.norm(hand - shoulder))
    axis = (hand - shoulder) / span
    length = min(span, 0.999 * (body.upper_arm + body.forearm))
    along = (body.upper_arm**2 - body.forearm**2 + length**2) / (2 * length)
    pole = np.array([-1.0, 0.6 * side, 0.2])
    pole -= (pole @ axis) * axis
    bulge = np.sqrt(max(0.0, body.upper_arm**2 - along**2))
    return shoulder + along * axis + bulge * pole / np.linalg.norm(pole), shoulder + length * axis


@dataclass(frozen=True)
class _Camera:
    yaw: float
    """Radians round the person; 0 is in front."""
    elevation: float
    """Radians by which it looks down."""
    roll: float
    """Radians by which it is held askew."""
    distance: float
    """Metres from the person."""
    mirror: int
    """-1 swaps left and right."""
    scale: float = 1.0
    """Pixels a metre at the person."""
    centre: tuple[float, float] = (0.0, 0.0)
    """The pixel that shows the point one metre above the person's place."""

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places `(N, 3)` in metres to pixels `(N, 2)`, pixels a metre `(N,)` and metres towards the camera `(N,)`."""
        towards, right, up = self.axes()
        relative = points - np.array([0.0, 0.0, 1.0])
        near = relative @ towards
        grow = self.scale * self.distance / np.maximum(0.3, self.distance - near)
        x, y = self.mirror * grow * (relative @ right), -grow * (relative @ up)
        sin, cos = np.sin(self.roll), np.cos(self.roll)
        pixels = np.stack([x * cos - y * sin + self.centre[0], x * sin + y * cos + self.centre[1]], axis=-1)
        return pixels, grow, near

    def axes(self) -> np.ndarray:
        """Unit vectors towards the camera, to the picture's right (unmirrored) and up, as rows."""
        (ys, es), (yc, ec) = np.sin((self.yaw, self.elevation)), np.cos((self.yaw, self.elevation))
        return np.array([[ec * yc, ec * ys, es], [-ys, yc, 0.0], [-es * yc, -es * ys, ec]])

    def room(self, points: np.ndarray) -> np.ndarray:
        """As `project`, of places given as metres to the right, behind the person, and up."""
        towards, right, _ = self.axes()
        away = -np.array([towards[0], towards[1], 0.0]) / np.hypot(towards[0], towards[1])
        up = np.array([0.0, 0.0, 1.0])
        return self.project(points[:, :1] * right + points[:, 1:2] * away + points[:, 2:] * up)[0]


def _aim(
    camera: _Camera, places: np.ndarray, size: tuple[int, int], margin: int, fill: float, offset: np.ndarray
) -> _Camera:
    """The camera that shows all `places` `(N, 3)` in `fill` of the central square, off its middle by `offset`."""
    pixels, _, _ = camera.project(places)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    square = min(size) - 2 * margin
    scale = fill * square / (high - low).max()
    spare = 0.5 * (square - scale * (high - low))
    # Off the middle, but no more upwards and downwards than sideways: a low figure does not float at the top.
    x, y = np.array(size) / 2 - scale * (low + high) / 2 + offset * np.minimum(spare, 0.12 * square)
    return replace(camera, scale=scale, centre=(float(x), float(y)))


@dataclass(frozen=True)
class _Look:
    """Colours of a person."""

    skin: Colour
    hair: Colour
    shirt: Colour
    sleeve: Colour
    trousers: Colour
    legs: Colour
    shoes: Colour

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Look:
        skin = _SKINS[rng.integers(len(_SKINS))]
        shirt = _colour(rng, saturation=(0.45, 0.95), value=(0.5, 0.98))
        trousers = _colour(rng, saturation=(0.1, 0.7), value=(0.15, 0.6))
        return cls(
            skin=skin,
            hair=_HAIRS[rng.integers(len(_HAIRS))],
            shirt=shirt,
            sleeve=shirt if rng.random() < 0.5 else skin,
            trousers=trousers,
            legs=trousers if rng.random() < 0.6 else skin,
            shoes=_colour(rng, saturation=(0.0, 0.8), value=(0.2, 0.95)),
        )


_SKINS: tuple[Colour, ...] = (
    (255, 219, 190), (241, 194, 158), (224, 172, 125), (198, 134, 92), (150, 96, 62), (104, 66, 44),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (30, 24, 22),
    (68, 44, 30),
    (120, 78, 44),
    (196, 158, 96),
    (150, 146, 144),
    (140, 60, 34),
)
_STEEL: Colour = (176, 180, 186)
_IRON: Colour = (42, 44, 50)


class _Part(NamedTuple):
    """The convex hull of some balls: a limb, the torso, a plate."""

    places: np.ndarray
    """Centres of the balls in metres, `(N, 3)`."""
    radii: tuple[float, ...]
    """In metres, one each."""
    colour: Colour
    lead: np.ndarray | float = 0.0
    """Metres by which it counts as moved when it is decided what hides what."""


def _figure(at: Joints, body: _Body, look: _Look) -> list[_Part]:
    r, bulge = body.limb, 1.3 * body.limb
    spine = (at["chest"] - at["hips"]) / body.torso
    front = np.cross(at["left shoulder"] - at["right shoulder"], spine)
    front /= np.linalg.norm(front)
    head, crown = at["head"], at["head"] + 0.035 * spine - 0.025 * front
    trunk = np.stack([at[f"{side} {part}"] for part in ("shoulder", "hip") for side in ("left", "right")])
    return [
        _Part(trunk, (r, r, bulge, bulge), look.shirt),
        _Part(trunk[2:], (1.45 * r, 1.45 * r), look.trousers, 0.01 * front),
        _Part(np.stack([at["chest"], head]), (0.85 * r, 0.8 * r), look.skin),
        _Part(np.stack([crown - 0.02 * front, crown + 0.01 * front]), (body.head, 0.97 * body.head), look.hair),
        _Part(np.stack([head - 0.045 * spine, head]) + 0.035 * front, (0.72 * body.head, 0.82 * body.head), look.skin),
        *(part for side in ("left", "right") for part in _limbs(at, side, r, look, front)),
    ]


def _limbs(at: Joints, side: str, r: float, look: _Look, front: np.ndarray) -> list[_Part]:
    def part(joints: tuple[str, ...], radii: tuple[float, ...], colour: Colour, lead: float) -> _Part:
        places = np.stack([at[f"{side} {joint}"] for joint in joints])
        return _Part(places, tuple(r * radius for radius in radii), colour, lead * front)

    # An arm that crosses the body or the face passes in front of it.
    return [
        part(("hip", "knee"), (1.45, 1.1), look.trousers, 0.0),
        part(("knee", "ankle"), (1.1, 0.75), look.legs, 0.0),
        part(("ankle", "toe"), (0.85, 0.65), look.shoes, 0.02),
        part(("shoulder", "elbow"), (1.2, 1.0), look.sleeve, 0.2),
        part(("elbow", "hand"), (1.0, 0.85), look.skin, 0.22),
        part(("hand",), (1.2,), look.skin, 0.23),
    ]


def _weights(at: Joints, kind: str) -> list[_Part]:
    left, right = at["left hand"], at["right hand"]
    if kind == "barbell":
        across = (left - right) / np.linalg.norm(left - right)
        ends = np.stack([left + 0.42 * across, right - 0.42 * across])
        plates = [_disc(end - inwards * 0.08 * across, 0.19) for inwards, end in zip((1, -1), ends, strict=True)]
        return [_Part(ends, (0.018, 0.018), _STEEL, np.array([0.1, 0, 0])), *plates]
    if kind == "dumbbells":
        along = np.array([0.0, 0.12, 0.0])
        return [
            part
            for hand in (left, right)
            for part in (
                _Part(np.stack([hand - along, hand + along]), (0.025, 0.025), _STEEL, np.array([0.24, 0, 0])),
                *(_Part((hand + end * along)[None], (0.07,), _IRON, np.array([0.25, 0, 0])) for end in (1, -1)),
            )
        ]
    return []


def _disc(centre: np.ndarray, radius: float) -> _Part:
    """A plate that stands across the person's left and right."""
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    rim = radius * np.stack([np.cos(angle), np.zeros(16), np.sin(angle)], axis=-1)
    return _Part(centre + rim, (0.03,) * 16, _IRON)


_ROUND = np.stack([np.cos(np.linspace(0, 2 * np.pi, 28)), np.sin(np.linspace(0, 2 * np.pi, 28))], axis=-1)


def _hull(pixels: np.ndarray, radii: np.ndarray) -> list[float]:
    """Outline of the convex hull of discs: in each direction the point of the disc that reaches furthest."""
    furthest = (_ROUND @ pixels.T + radii).argmax(axis=1)
    return (pixels[furthest] + radii[furthest, None] * _ROUND).ravel().tolist()


def _draw_parts(canvas: Image.Image, parts: Sequence[_Part], camera: _Camera, light: np.ndarray) -> None:
    """Back to front, each with a dark rim and a lit side; `light` points there in the picture, `(2,)`."""
    draw = ImageDraw.Draw(canvas)
    pixels, grow, _ = camera.project(np.concatenate([part.places for part in parts]))
    _, _, near = camera.project(np.stack([part.places.mean(axis=0) + part.lead for part in parts]))
    ends = np.cumsum([len(part.places) for part in parts])
    for place in np.argsort(near):
        part, balls = parts[place], slice(ends[place] - len(parts[place].places), ends[place])
        centres, radii = pixels[balls], grow[balls] * np.array(part.radii)
        shade = float(np.clip(0.9 + 0.5 * near[place], 0.72, 1.0))
        draw.polygon(_hull(centres, radii + 1.2), fill=_shaded(part.colour, 0.5 * shade))
        draw.polygon(_hull(centres, radii - 0.3), fill=_shaded(part.colour, 0.85 * shade))
        lit = centres + 0.28 * radii[:, None] * light
        draw.polygon(_hull(lit, 0.6 * radii), fill=_shaded(part.colour, 1.06 * shade))


def _draw_shadow(canvas: Image.Image, at: Joints, camera: _Camera, strength: float) -> None:
    ground = np.stack(list(at.values())) * np.array([1.0, 1.0, 0.0])
    pixels, grow, _ = camera.project(ground)
    low, high = pixels.min(axis=0) - 0.12 * grow.max(), pixels.max(axis=0) + 0.12 * grow.max()
    low[1], high[1] = low[1] + 0.06 * grow.max(), high[1] - 0.04 * grow.max()
    width, height = (np.ceil(high - low)).astype(int).tolist()
    mask = _soft_disc().resize((max(1, width), max(1, height))).point(lambda value: int(value * strength))
    canvas.paste((12, 10, 14), (int(low[0]), int(low[1])), mask)


@functools.cache
def _soft_disc() -> Image.Image:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    return Image.fromarray((255 * np.clip(1.2 * (1 - np.hypot(x, y)), 0, 1)).astype(np.uint8))


def _shaded(colour: Colour, factor: float) -> Colour:
    r, g, b = (min(255, int(channel * factor)) for channel in colour)
    return r, g, b


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return int(255 * r), int(255 * g), int(255 * b)


def _contrast(a: Colour, b: Colour) -> float:
    return float(np.linalg.norm(np.subtract(a, b)))


def _room(camera: _Camera, look: _Look, canvas_size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """The background: a wall, a floor, things along the wall, uneven light."""
    walls = [_colour(rng, saturation=(0.03, 0.4), value=(0.25, 0.9)) for _ in range(5)]
    wall = max(walls, key=lambda colour: min(_contrast(colour, look.skin), _contrast(colour, look.sleeve)))
    floor = _colour(rng, saturation=(0.05, 0.45), value=(0.25, 0.75))
    room = Image.new("RGB", canvas_size, wall)
    draw = ImageDraw.Draw(room)
    depth = rng.uniform(1.0, 2.2)

    def shape(points: Sequence[tuple[float, float, float]], colour: Colour) -> None:
        draw.polygon(camera.room(np.array(points)).ravel().tolist(), fill=colour)

    def plate(left: float, right: float, low: float, high: float, colour: Colour, behind: float = depth) -> None:
        shape([(left, behind, low), (right, behind, low), (right, behind, high), (left, behind, high)], colour)

    _paper_wall(plate, wall, rng)
    for place in rng.permutation(np.linspace(-2.4, 2.4, 5))[: rng.integers(1, 5)]:
        _THINGS[rng.integers(len(_THINGS))](plate, float(place + rng.uniform(-0.3, 0.3)), rng)
    # To just before the lens, so that the floor leaves the picture at its lower edge.
    _lay_floor(shape, floor, 0.5 - camera.distance, depth, rng)
    plate(-9, 9, 0.0, rng.uniform(0.03, 0.12), _shaded(wall, rng.uniform(0.5, 1.3)))
    return _lit(room, rng)


Plate = Callable[[float, float, float, float, Colour], None]
"""Draws an upright rectangle on the wall: left, right, low, high in metres, colour."""
Shape = Callable[[Sequence[tuple[float, float, float]], Colour], None]
"""Draws a polygon of places in the room."""


def _paper_wall(plate: Plate, wall: Colour, rng: np.random.Generator) -> None:
    other = _shaded(wall, rng.uniform(0.8, 0.94))
    pattern = rng.choice(["plain", "stripes", "bricks", "panel"])
    if pattern == "stripes":
        width = rng.uniform(0.12, 0.4)
        for left in np.arange(-6, 6, 2 * width):
            plate(left, left + width, 0, 4, other)
    elif pattern == "bricks":
        for row, low in enumerate(np.arange(0, 4, 0.22)):
            plate(-6, 6, low, low + 0.03, other)
            for left in np.arange(-6 + 0.25 * (row % 2), 6, 0.5):
                plate(left, left + 0.03, low, low + 0.22, other)
    elif pattern == "panel":
        plate(-9, 9, 0, rng.uniform(0.7, 1.3), _shaded(other, 0.85))


def _lay_floor(shape: Shape, floor: Colour, front: float, back: float, rng: np.random.Generator) -> None:
    shape([(-9, back, 0), (9, back, 0), (9, front, 0), (-9, front, 0)], floor)
    other = _shaded(floor, rng.uniform(0.82, 0.93))
    pattern = rng.choice(["plain", "planks", "tiles", "mat"])
    if pattern in ("planks", "tiles"):
        for left in np.arange(-5, 5, 0.4):
            shape([(left, back, 0), (left + 0.03, back, 0), (left + 0.03, front, 0), (left, front, 0)], other)
    if pattern == "tiles":
        for place in np.arange(front, back, 0.4):
            shape([(-5, place, 0), (5, place, 0), (5, place + 0.03, 0), (-5, place + 0.03, 0)], other)
    if pattern == "mat":
        colour = _colour(rng, saturation=(0.2, 0.6), value=(0.3, 0.7))
        shape([(-1.3, 0.6, 0), (1.3, 0.6, 0), (1.3, -0.6, 0), (-1.3, -0.6, 0)], colour)


def _window(plate: Plate, x: float, rng: np.random.Generator) -> None:
    w, low, high = rng.uniform(0.3, 0.5), rng.uniform(0.9, 1.1), rng.uniform(1.8, 2.2)
    frame = _colour(rng, saturation=(0.0, 0.2), value=(0.6, 0.95))
    plate(x - w - 0.05, x + w + 0.05, low - 0.05, high + 0.05, frame)
    plate(x - w, x + w, low, high, _colour(rng, saturation=(0.1, 0.35), value=(0.7, 0.95)))
    plate(x - 0.02, x + 0.02, low, high, frame)
    plate(x - w, x + w, (low + high) / 2 - 0.02, (low + high) / 2 + 0.02, frame)


def _poster(plate: Plate, x: float, rng: np.random.Generator) -> None:
    w, low, high = rng.uniform(0.2, 0.4), rng.uniform(1.0, 1.2), rng.uniform(1.7, 2.1)
    plate(x - w, x + w, low, high, _colour(rng, saturation=(0.1, 0.6), value=(0.3, 0.8)))
    for line in rng.uniform(low + 0.08, high - 0.08, 4):
        plate(x - 0.7 * w, x + 0.7 * w, line, line + 0.05, _colour(rng, saturation=(0.1, 0.5), value=(0.4, 0.9)))


def _door(plate: Plate, x: float, rng: np.random.Generator) -> None:
    wood = _colour(rng, saturation=(0.1, 0.5), value=(0.3, 0.7))
    plate(x - 0.5, x + 0.5, 0, 2.1, _shaded(wood, 0.8))
    plate(x - 0.44, x + 0.44, 0, 2.04, wood)
    plate(x + 0.3, x + 0.38, 1.0, 1.05, _STEEL)


def _rack(plate: Plate, x: float, rng: np.random.Generator) -> None:
    steel = _shaded(_STEEL, rng.uniform(0.4, 0.8))
    for shelf in (0.35, 0.75, 1.15)[: rng.integers(2, 4)]:
        plate(x - 0.6, x + 0.6, shelf, shelf + 0.05, steel)
        for left in np.arange(x - 0.55, x + 0.5, 0.22):
            plate(left, left + 0.16, shelf + 0.05, shelf + rng.uniform(0.14, 0.22), _IRON)
    plate(x - 0.62, x - 0.57, 0, 1.4, steel)
    plate(x + 0.57, x + 0.62, 0, 1.4, steel)


def _cupboard(plate: Plate, x: float, rng: np.random.Generator) -> None:
    paint = _colour(rng, saturation=(0.1, 0.5), value=(0.3, 0.75))
    for left in (x - 0.45, x - 0.15, x + 0.15):
        plate(left, left + 0.3, 0, 1.8, _shaded(paint, 0.75))
        plate(left + 0.02, left + 0.28, 0.04, 1.76, paint)
        plate(left + 0.22, left + 0.25, 0.9, 1.05, _shaded(paint, 0.5))


_THINGS = (_window, _poster, _door, _rack, _cupboard)


def _lit(room: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Stains, and a lamp somewhere: multiplies what was painted."""
    width, height = room.size
    stains = Image.fromarray(rng.uniform(0, 255, (height // 12, width // 12)).astype(np.uint8))
    rough = np.asarray(stains.resize(room.size, Image.Resampling.BICUBIC), np.float32) / 255 - 0.5
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    lamp = np.hypot(x - rng.uniform(0, 1), y - rng.uniform(-0.2, 0.5))
    light = 1.12 - rng.uniform(0.1, 0.4) * lamp + rng.uniform(0.02, 0.14) * rough
    return Image.fromarray(np.clip(np.asarray(room) * light[..., None], 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class _Source:
    """One person in one room before one camera."""

    body: _Body
    look: _Look
    camera: _Camera
    room: Image.Image
    """The empty room, supersampled, with a margin for the camera's sway."""
    size: tuple[int, int]
    """Width and height of the video in pixels."""
    light: np.ndarray
    """Direction of the light in the picture, `(2,)`."""
    shadow: float
    """Darkness of the shadow on the floor, 0 to 1."""
    brightness: float
    """Factor on all pixels."""


def _stage(clip: DemoClip, seed: int) -> _Source:
    rng = _rng(seed, clip.source)
    exercise = _BY_NAME[clip.label]
    size = _FRAME_SIZES[rng.integers(len(_FRAME_SIZES))]
    margin = round(2 * _SUPERSAMPLING * _SWAY)
    canvas_size = (_SUPERSAMPLING * size[0] + margin, _SUPERSAMPLING * size[1] + margin)
    body, look = _Body.random(rng), _Look.random(rng)
    camera = _Camera(
        yaw=np.radians(rng.uniform(*exercise.yaw)),
        elevation=np.radians(rng.uniform(2, 12)),
        roll=np.radians(rng.uniform(-2.5, 2.5)),
        distance=rng.uniform(3.5, 7.0),
        mirror=int(rng.choice((-1, 1))),
    )
    camera = _aim(camera, _reach(exercise, body), canvas_size, margin, rng.uniform(0.88, 1.0), rng.uniform(-1, 1, 2))
    angle = rng.uniform(np.pi, 2 * np.pi)
    return _Source(
        body, look, camera, _room(camera, look, canvas_size, rng), size,
        light=np.array([np.cos(angle), np.sin(angle)]),
        shadow=rng.uniform(0.3, 0.6),
        brightness=rng.uniform(0.85, 1.1),
    )  # fmt: skip


def _reach(exercise: _Exercise, body: _Body) -> np.ndarray:
    """Corners of the boxes round all joints and weights over a cycle, `(N, 3)`."""
    pad = np.stack(np.meshgrid(*([[-0.13, 0.13]] * 3)), axis=-1).reshape(-1, 3)
    places = []
    for phase in np.linspace(0, 1, 16, endpoint=False):
        at = _joints(exercise.pose(phase), body, exercise.support)
        places += [*at.values(), *(place for part in _weights(at, exercise.weight) for place in part.places)]
    return (np.stack(places)[:, None] + pad).reshape(-1, 3)


def _film(clip: DemoClip, seed: int) -> _Take:
    source, exercise = _stage(clip, seed), _BY_NAME[clip.label]
    rng = _rng(seed, clip.path)
    rate = _FRAME_RATES[rng.integers(len(_FRAME_RATES))]
    seconds = rng.uniform(1.0, 4.0)
    if exercise.circle:
        # Half a turn between two of 8 frames would hide the direction: stay well below.
        cycles = rng.uniform(0.9, 1.5)
    else:
        cycles = rng.uniform(1.0, max(1.01, min(3.0, seconds / exercise.seconds)))
    count = round(seconds * rate)
    phases = rng.random() + cycles * np.arange(count) / count
    return _Take(_frames(source, exercise, phases, rng), source.size, rate, quality=int(rng.integers(18, 26)))


def _frames(source: _Source, exercise: _Exercise, phases: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    width, height = source.size
    noise = rng.normal(0, rng.uniform(0.5, 4.0), (height + 32, width + 32, 1)).astype(np.float32)
    brightness = source.brightness * rng.uniform(0.95, 1.05)
    sway = _SWAY * rng.random(2) * rng.uniform(0, 1)
    drift = 2 * np.pi * (rng.random(2) + np.linspace(0, 1, len(phases))[:, None] * rng.uniform(-1.5, 1.5, 2))
    for phase, wave in zip(phases, np.sin(drift), strict=True):
        canvas = _draw(source, exercise, phase)
        left, top = np.round(_SUPERSAMPLING * (_SWAY + sway * wave)).astype(int).tolist()
        window = (left, top, left + _SUPERSAMPLING * width, top + _SUPERSAMPLING * height)
        picture = np.asarray(canvas.crop(window).reduce(_SUPERSAMPLING), np.float32)
        y, x = rng.integers(0, 32, 2)
        yield np.clip(picture * brightness + noise[y : y + height, x : x + width], 0, 255).astype(np.uint8)


def _draw(source: _Source, exercise: _Exercise, phase: float) -> Image.Image:
    canvas = source.room.copy()
    at = _joints(exercise.pose(phase), source.body, exercise.support)
    _draw_shadow(canvas, at, source.camera, source.shadow)
    parts = [*_figure(at, source.body, source.look), *_weights(at, exercise.weight)]
    _draw_parts(canvas, parts, source.camera, source.light)
    return canvas
