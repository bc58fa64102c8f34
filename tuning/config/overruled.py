"""Settings of a config file that an override on the command line leaves without effect: they yield to it.

What contradicts itself within the file, or on the command line, is refused (`tuning.config.validate`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from data.dataset.layout import FOLDERS
from tuning.config.messages import as_yaml
from tuning.config.schema.data import OWN_SPLITS

_LIMITS = (
    ("train.warmup_epochs", "train.epochs", False),
    ("train.patience", "train.epochs", False),
    ("train.unfreeze_every", "train.epochs", False),
    ("search.asha.grace_epochs", "train.epochs", True),
    ("train.micro_batch", "train.batch_size", False),
)
"""A setting, the setting that it must be below, and whether it may be equal to that."""

_OF_A_NEW_SPLIT = tuple(f"data.{name}" for name in ("groups", "folds", "val", "test", "seed", "few_groups"))
_OF_A_BACKBONE = tuple(f"train.{name}" for name in ("backbone_lr", "frozen_statistics", "checkpoint_activations"))


def drop_overruled(settings: Any, overridden: Iterable[str]) -> list[str]:
    """Remove settings of a config file that have no effect because of the overrides.

    Args:
        settings: nested plain values of the file and the overrides, not validated yet; changed in place.
        overridden: dotted keys of the overrides.

    Returns:
        One line on each setting that was removed.
    """
    keys, notes = list(overridden), []
    for key, cause in _without_effect(settings):
        value = _find(settings, key)
        given = any(f"{key}.".startswith(f"{each}.") for each in keys)
        if cause in keys and not given and value is not None:
            _section(settings, key).pop(key.rpartition(".")[2])
            notes.append(
                f"{key}={as_yaml(value)} of the config file is not used, because {cause} is "
                f"{as_yaml(_find(settings, cause))}"
            )
    return notes


def _without_effect(settings: Any) -> Iterator[tuple[str, str]]:
    """Yield keys that have no effect if they are set, each with the key that causes it."""
    for key, limit, may_equal in _LIMITS:
        value, largest = _find(settings, key), _find(settings, limit)
        if not (isinstance(value, int | float) and isinstance(largest, int)) or largest < 1:
            continue  # Refused in any case.
        if value > largest or (value == largest and not may_equal):
            yield key, limit
    if _find(settings, "train.trainable") == "head" and _find(settings, "train.unfreeze_every") is None:
        yield from ((key, "train.trainable") for key in _OF_A_BACKBONE)
    if _find(settings, "train.trainable") not in (None, "head"):
        yield "train.stored_views", "train.trainable"
    if _find(settings, "train.trainable") == "all":
        yield "train.unfreeze_every", "train.trainable"
    if _find(settings, "search.algorithm") == "grid":
        yield "search.trials", "search.algorithm"
    if _find(settings, "data.folds"):
        yield "data.val", "data.folds"
    split = _find(settings, "data.split")
    if split == FOLDERS:
        yield from ((key, "data.split") for key in ("data.folds", "data.test", "data.few_groups"))
    elif split is not None and split not in OWN_SPLITS:
        yield from ((key, "data.split") for key in _OF_A_NEW_SPLIT)
    for name in ("lr", "num_frames"):
        if _every_architecture_sets(settings, name):
            yield f"space.{name}", "space.arch"


def _every_architecture_sets(settings: Any, name: str) -> bool:
    """Return whether `space.by_arch` has its own values on an axis for each architecture that is tried."""
    archs, by_arch = _find(settings, "space.arch"), _find(settings, "space.by_arch")
    if not isinstance(archs, list | str) or not isinstance(by_arch, dict):
        return False
    spaces = [by_arch.get(arch) for arch in ([archs] if isinstance(archs, str) else archs)]
    own = [each for space in spaces for each in (space if isinstance(space, list) else [space])]
    return all(isinstance(each, dict) and each.get(name) is not None for each in own)


def _section(settings: Any, key: str) -> dict[str, Any]:
    """Return the mapping that holds a dotted key; empty if there is none."""
    for name in key.split(".")[:-1]:
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings if isinstance(settings, dict) else {}


def _find(settings: Any, key: str) -> Any:
    return _section(settings, key).get(key.rpartition(".")[2])
