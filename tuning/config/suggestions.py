"""What a user probably meant by a setting or a word that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from tuning.config.schema.space import LogRange
from tuning.config.schema.train import TrainConfig

_REMOVED = {
    "search.pbt": "population-based training was removed; leave it out, and stop trials early with search.asha",
}
"""Settings of earlier versions, with what to do instead."""

FIXED_IN_A_SWEEP = {
    "epochs": "the scheduler and the leaderboard compare trials of equal length; set train.epochs for all trials, of "
    "which the best epoch of each counts",
    "seed": "a lucky seed would win; search.finalists repeats the best trials with other seeds",
}
"""Settings of `train` that can't be axes, with the reason and what to do instead."""


_PER_ARCHITECTURE = {"weights": ["models.ARCH.weights", "space.by_arch.ARCH.weights"]}
"""Settings below the name of an architecture that users look for elsewhere."""


def unknown_setting(path: Sequence[str], root: type[BaseModel]) -> str:
    """Return one line on a setting that does not exist, with the settings that were probably meant.

    Args:
        path: the parts of its dotted key.
        root: the class of all settings.
    """
    key, name, section = ".".join(path), path[-1], path[:-1]
    if key in _REMOVED:
        return f"{key}: {_REMOVED[key]}"
    if "space" in section and name in FIXED_IN_A_SWEEP:
        return f"{key} can't be tried: {FIXED_IN_A_SWEEP[name]}"
    if "space" in section and name in TrainConfig.model_fields:
        return f"unknown setting {key!r}; did you mean {'.'.join([*section, 'train', name])!r}?"
    valid = _fields_at(section, root)
    elsewhere = _keys_named(name, root)
    near = [".".join([*section, close]) for close in _closest(name, valid, cutoff=0.7 if elsewhere else 0.5)]
    meant = list(dict.fromkeys([*near, *elsewhere]))
    if not meant:
        return f"unknown setting {key!r}{suggestion(name, valid, prefix=section)}"
    return f"unknown setting {key!r}; did you mean {_either(map(repr, meant))}?"


def override_error(override: str, overrides: Sequence[str], root: type[BaseModel]) -> str:
    """Return one line on a word that is not `KEY=VALUE`; for an option named like a setting, that setting.

    Args:
        override: the word.
        overrides: all such words of the command line, of which one may be the value of an unknown option.
        root: the class of all settings.
    """
    option = next((word for word in overrides if word.startswith("-")), None)
    if option is None:
        return f"{override!r} is not an override: write KEY=VALUE, such as train.epochs=3"
    flag, _, value = option.partition("=")
    values = [word for word in overrides if not word.startswith("-") and "=" not in word]
    value = value or (values[0] if len(values) == 1 else "VALUE")
    meant = [f"{key}={value}" for key in _keys_named(flag.lstrip("-").replace("-", "_"), root)]
    if not meant:
        return f"sweep has no option {flag}; settings are KEY=VALUE, such as train.epochs=3"
    return f"sweep has no option {flag}; settings are KEY=VALUE: write {_either(meant)}"


def suggestion(word: str, valid: Sequence[str], prefix: Sequence[str]) -> str:
    """Return the end of a message on an invalid word: the closest valid word, or all of them.

    Args:
        word: the invalid word.
        valid: the valid words.
        prefix: keys in front of the suggested word.
    """
    return did_you_mean(word, valid, prefix) or f"; choose from {', '.join(valid)}"


def did_you_mean(word: str, valid: Sequence[str], prefix: Sequence[str]) -> str:
    """Return the end of a message on an invalid word: the closest valid word; empty if none is close."""
    return "".join(f"; did you mean {'.'.join([*prefix, close])!r}?" for close in _closest(word, valid))


def _closest(word: str, valid: Sequence[str], cutoff: float = 0.5) -> list[str]:
    return difflib.get_close_matches(word, valid, n=1, cutoff=cutoff)


def _keys_named(name: str, root: type[BaseModel]) -> list[str]:
    """Return the dotted keys of the settings whose last part is a name, or nearly; the name may be a whole key."""
    by_name = {name: list(keys) for name, keys in _PER_ARCHITECTURE.items()}
    for key in _all_keys(root):
        by_name.setdefault(key.rpartition(".")[2], []).append(key)
        by_name.setdefault(key, []).append(key)
        by_name.setdefault(key.replace(".", "_"), []).append(key)
    return list(dict.fromkeys(key for close in _closest(name, list(by_name), cutoff=0.85) for key in by_name[close]))


def _all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all settings but those whose names the user chooses."""
    for name, field in model.model_fields.items():
        nested = _nested_model(field.annotation)
        if get_origin(field.annotation) is dict:
            continue
        if nested is None or nested is LogRange:
            yield f"{prefix}{name}"
        else:
            yield from _all_keys(nested, f"{prefix}{name}.")


def _fields_at(path: Sequence[str], root: type[BaseModel]) -> list[str]:
    model = root
    for name in path:
        # A part that is not a field is a key of a mapping or an index of a list: the class stays the same.
        if name in model.model_fields:
            model = _nested_model(model.model_fields[name].annotation) or model
    return list(model.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_nested_model, get_args(annotation))), None)


def _either(words: Iterator[str] | Sequence[str]) -> str:
    """Return words as `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
