"""Forward kinematics of the figure: from a pose to joint positions in metres."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from data.demo.exercises import Pose

Joints = dict[str, np.ndarray]
"""Position `(3,)` of each joint: metres forward, to the person's left, and up from the floor below the person."""


@dataclass(frozen=True)
class Body:
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
    """Radius of an upper arm; all other radii are multiples of it."""

    @classmethod
    def random(cls, rng: np.random.Generator) -> Body:
        """Draw the proportions of one person."""
        build = {length: metres * rng.uniform(0.93, 1.07) for length, metres in asdict(cls()).items()}
        return cls(**build | {"limb": cls.limb * rng.uniform(0.85, 1.25)})


def joint_positions(pose: Pose, body: Body, support: str) -> Joints:
    """Return the joints of a body in a pose, with its support (see `Exercise.support`) resting on the floor."""
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


def _direction(angle: float, out: float, side: int) -> np.ndarray:
    a, o = np.radians((angle, out))
    return np.array([np.sin(a) * np.cos(o), side * np.sin(o), -np.cos(a) * np.cos(o)])


def _supported(at: Joints, pose: Pose, body: Body, support: str) -> Joints:
    """Move the body so that its support rests on the floor and does not slide."""
    if support == "hips":
        shift = np.array([0.0, 0.0, 2.0 * body.limb])
    else:
        sole = 0.6 * body.limb
        lowest = min(at[f"{side} {part}"][2] for side in ("left", "right") for part in ("ankle", "toe"))
        shift = np.array([-at["right toe"][0], 0.0, sole - lowest + pose.lift])
    at = {joint: position + shift for joint, position in at.items()}
    if support == "hands":
        for name, side in (("left", 1), ("right", -1)):
            reach = 0.97 * (body.torso + body.thigh + body.shin)
            hand = np.array([reach, side * 1.35 * body.shoulder, body.limb])
            at[f"{name} elbow"], at[f"{name} hand"] = _bend_arm(at[f"{name} shoulder"], hand, body, side)
    return at


def _bend_arm(shoulder: np.ndarray, hand: np.ndarray, body: Body, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return elbow and hand of an arm that reaches for the position `hand`: inverse kinematics of two bones."""
    span = float(np.linalg.norm(hand - shoulder))
    axis = (hand - shoulder) / span
    length = min(span, 0.999 * (body.upper_arm + body.forearm))
    along = (body.upper_arm**2 - body.forearm**2 + length**2) / (2 * length)
    pole = np.array([-1.0, 0.6 * side, 0.2])
    pole -= (pole @ axis) * axis
    bulge = np.sqrt(max(0.0, body.upper_arm**2 - along**2))
    return shoulder + along * axis + bulge * pole / np.linalg.norm(pole), shoulder + length * axis
