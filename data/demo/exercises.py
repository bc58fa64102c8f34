"""The exercises of the demo classes: poses, cycles and the camera angles that show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

TIME_PAIR = ("arm circle forward", "arm circle backward")
"""The two classes that only the order of frames tells apart."""


class Pose(NamedTuple):
    """Angles of the limbs in degrees.

    A limb's first angle turns it in the sagittal plane: 0 hangs down, 90 points forward, 180 up. Its `out` angle lifts
    it sideways, away from the body. Both arms have the same angles; `back_` is the right leg.
    """

    trunk: float = 0.0
    """0 is upright, 90 leans forward to the horizontal, -90 lies on the back."""
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

    def blend(self, other: Pose, weight: float) -> Pose:
        """Interpolate all angles: weight 0 is this pose, 1 the other."""
        return Pose(*(a + weight * (b - a) for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Exercise:
    """A periodic movement: from rest to peak and back, or arms in full circles."""

    name: str
    rest: Pose
    peak: Pose
    yaw: tuple[float, float]
    """Range of the camera's angle in degrees: 0 is in front, 90 at the person's left side."""
    seconds: float = 1.0
    """Shortest time of one cycle; for circles the length of the clip decides."""
    circle: int = 0
    """1 or -1: the arms go round in full circles, from down by the sides outwards, or the other way."""
    support: str = "feet"
    """What rests on the floor: `feet`, `hips`, or `hands` (and toes)."""
    weight: str = ""
    """`barbell` or `dumbbells` in the hands."""

    def pose(self, phase: float) -> Pose:
        """Return the pose after `phase` cycles."""
        if self.circle:
            arm, out = _circling_arm(2 * np.pi * self.circle * phase)
            return self.rest._replace(arm=arm, forearm=arm, arm_out=out, forearm_out=out)
        return self.rest.blend(self.peak, 0.5 - 0.5 * np.cos(2 * np.pi * phase))


def _circling_arm(turn: float) -> tuple[float, float]:
    """Return an arm's two angles in degrees after a turn in radians: down, out, up, in front.

    The arm moves on a cone about an axis that points forward and out. Seen from the front, the hand therefore passes
    far from the body in one direction and close to it in the other.
    """
    axis, opening = np.radians((48.0, 68.0))
    round_axis = np.sin(opening) * np.array([-np.sin(axis) * np.sin(turn), np.cos(axis) * np.sin(turn), -np.cos(turn)])
    x, y, z = np.cos(opening) * np.array([np.cos(axis), np.sin(axis), 0.0]) + round_axis
    return float(np.degrees(np.arctan2(x, -z))), float(np.degrees(np.arcsin(y)))


_STANDING = Pose()
_SQUATTING = Pose(
    trunk=38, arm=88, forearm=90, arm_out=4, forearm_out=0, thigh=92, shin=-28, back_thigh=92, back_shin=-28,
    foot=86, back_foot=86, leg_out=14,
)  # fmt: skip
_LUNGING = Pose(
    trunk=4, arm=-14, arm_out=22, forearm=70, forearm_out=-24,
    thigh=88, shin=-2, foot=88, back_thigh=-14, back_shin=-86, back_foot=20, leg_out=3,
)  # fmt: skip
_PULLING = Pose(
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
    Exercise(TIME_PAIR[0], _STANDING, _STANDING, yaw=(-12, 12), circle=1),
    Exercise(TIME_PAIR[1], _STANDING, _STANDING, yaw=(-12, 12), circle=-1),
    Exercise("squat", _STANDING._replace(leg_out=14), _SQUATTING, yaw=(35, 90), seconds=1.2),
    Exercise(
        "jumping jack",
        _STANDING._replace(leg_out=3),
        _STANDING._replace(arm_out=168, forearm_out=174, leg_out=27, lift=0.05),
        yaw=(-25, 25),
        seconds=0.8,
    ),
    Exercise(
        "push Up",
        Pose(trunk=76, thigh=-76, shin=-76, back_thigh=-76, back_shin=-76, **_STRAIGHT_LINE),
        Pose(trunk=88, thigh=-88, shin=-88, back_thigh=-88, back_shin=-88, **_STRAIGHT_LINE),
        yaw=(55, 100),
        seconds=1.0,
        support="hands",
    ),
    Exercise(
        "sit-up",
        Pose(trunk=-86, arm=196, arm_out=38, forearm=290, forearm_out=10, leg_out=7, **_BENT_KNEES),
        Pose(trunk=30, arm=80, arm_out=38, forearm=174, forearm_out=10, leg_out=7, **_BENT_KNEES),
        yaw=(60, 100),
        seconds=1.2,
        support="hips",
    ),
    Exercise("lunge", _STANDING._replace(leg_out=3), _LUNGING, yaw=(50, 95), seconds=1.2),
    Exercise(
        "deadlift",
        _STANDING._replace(arm=6, forearm=8),
        _PULLING,
        yaw=(40, 90),
        seconds=1.2,
        weight="barbell",
    ),
    Exercise(
        "shoulder press",
        _STANDING._replace(arm=10, arm_out=62, forearm=180, forearm_out=-4),
        _STANDING._replace(arm=10, arm_out=166, forearm=180, forearm_out=4),
        yaw=(-35, 35),
        seconds=1.0,
        weight="dumbbells",
    ),
    Exercise(
        "barbell biceps curl",
        _STANDING._replace(arm=2, forearm=14),
        _STANDING._replace(arm=12, forearm=148),
        yaw=(30, 80),
        seconds=1.0,
        weight="barbell",
    ),
)

EXERCISES = {exercise.name: exercise for exercise in _EXERCISES}
"""By class, the most frequent class first."""
