"""Names of trials and axes in tables and titles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tuning.config.schema.space import AXES, MODEL_PREFIX, TRAIN_PREFIX, SpaceConfig

_AXIS_TITLES = {"num_frames": "frames"}

_IN_TITLE = ("arch", "weights", "sampler", "loss", "lr", "num_frames", "selection")
"""Axes that have a position of their own in a trial's title."""


def _usual_values() -> dict[str, Any]:
    """Return the default of each axis whose default is a single value."""
    defaults = dict(SpaceConfig())
    single = {axis: defaults[axis] for axis in AXES if isinstance(defaults.get(axis), tuple)}
    return {"weights": "none", **{axis: values[0] for axis, values in single.items() if len(values) == 1}}


USUAL_VALUES = _usual_values()
"""Values of axes that a config, or a run older than the axis, does not mention."""


def table_axes(choices: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the axes that get a column in a table of trials: not those on which every trial has the usual value."""
    choices = list(choices)
    usual = {
        axis for axis, value in USUAL_VALUES.items() if all(choice.get(axis, value) == value for choice in choices)
    }
    shown = [axis for axis in AXES if axis not in usual]
    # Settings of training, options of architectures, and the seed of finalists.
    return [*shown, *dict.fromkeys(axis for choice in choices for axis in choice if axis not in AXES)]


def axis_title(axis: str) -> str:
    """Return the name of an axis in a table."""
    return _AXIS_TITLES.get(axis, axis.removeprefix(TRAIN_PREFIX).removeprefix(MODEL_PREFIX))


def axis_text(axis: str, value: Any) -> str:
    """Return a value in a table; empty for an option that the trial's architecture does not vary."""
    if value is None:
        return "" if axis.startswith(MODEL_PREFIX) else "null"
    if axis == "weights":
        return weights_text(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def trial_title(choice: Mapping[str, Any]) -> str:
    """Return the title of a trial without its usual values, such as `c3d · balanced · 16f · lr 3e-4`."""
    weights = "" if choice["weights"] == "none" else f" ({weights_text(choice['weights'])})"
    sampler = choice["sampler"] + (", weighted loss" if choice["loss"] == "weighted" else "")
    frames = f"{choice['num_frames']}f" + (" dense" if choice["selection"] == "dense" else "")
    parts = [f"{choice['arch']}{weights}", sampler, frames, f"lr {_rate_text(choice['lr'])}"]
    parts += [
        f"{axis_title(axis)} {axis_text(axis, value)}" for axis, value in choice.items() if _is_extra(axis, value)
    ]
    return " · ".join(parts)


def _is_extra(axis: str, value: Any) -> bool:
    if axis in _IN_TITLE or (axis in USUAL_VALUES and value == USUAL_VALUES[axis]):
        return False
    return not (axis.startswith(MODEL_PREFIX) and value is None)


def _rate_text(rate: float) -> str:
    """Return a learning rate as it is usually written: `3e-4`, but `0.05`."""
    if not 0 < rate < 0.01:
        return f"{rate:.3g}"
    mantissa, _, exponent = f"{rate:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def weights_text(weights: str) -> str:
    """Return the weights in a table or title: a name unchanged, the last two parts of a path."""
    return "/".join(Path(weights).parts[-2:])
