"""One-line error messages for invalid settings."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tuning.text import single_line

_REMOVED = {
    "search.pbt": "population-based training was removed; leave it out, and stop trials early with search.asha",
}
"""Settings of earlier versions, with what to do instead."""

_REASONS = {
    "model_type": "Input should be a mapping of settings",
    "dict_type": "Input should be a mapping",
}
"""Texts in place of pydantic's, which name regular expressions and Python classes."""


def validation_message(error: ValidationError, root: type[BaseModel]) -> str:
    """Return one line on the most specific of the errors that pydantic found.

    Args:
        error: raised by validating settings.
        root: the class of the settings, which knows the names of all others.
    """
    # A union reports the errors of all its branches: these types say most.
    specific = {"extra_forbidden": 0, "value_error": 1, "greater_than_equal": 2}
    details = min(error.errors(include_url=False), key=lambda each: specific.get(each["type"], len(specific)))
    path = [str(part) for part in details["loc"] if not _is_union_branch(part)]
    key = ".".join(path)
    if details["type"] == "extra_forbidden":
        if key in _REMOVED:
            return f"{key}: {_REMOVED[key]}"
        return f"unknown setting {key!r}{suggestion(path[-1], _fields_at(path[:-1], root), prefix=path[:-1])}"
    if details["type"] == "value_error":
        return (f"{key}: " if key else "") + str(details["ctx"]["error"])
    reason = _REASONS.get(details["type"]) or single_line(details["msg"])
    if details["type"] == "string_pattern_mismatch":
        reason = _refused_character(details["input"], details["ctx"]["pattern"])
    message = f"{key} is {details['input']!r}: {reason}"
    if details["type"] == "literal_error":
        valid = re.findall(r"'([^']+)'", details["ctx"]["expected"])
        message += _did_you_mean(str(details["input"]), valid, prefix=[])
    return message


def _refused_character(text: str, pattern: str) -> str:
    """Say which character of a text makes it differ from a pattern, which allows the same characters to its end."""
    for length in range(1, len(text) + 1):
        if not re.search(pattern, text[:length]):
            return f"it can't {'start with' if length == 1 else 'contain'} {text[length - 1]!r}"
    return "it is empty, or ends in a line break"


def _is_union_branch(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("LogRange", "constrained-int"))


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


def suggestion(word: str, valid: Sequence[str], prefix: Sequence[str]) -> str:
    """Return the end of a message on an invalid word: the closest valid word, or all of them.

    Args:
        word: the invalid word.
        valid: the valid words.
        prefix: keys in front of the suggested word.
    """
    return _did_you_mean(word, valid, prefix) or f"; choose from {', '.join(valid)}"


def _did_you_mean(word: str, valid: Sequence[str], prefix: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean {'.'.join([*prefix, close[0]])!r}?" if close else ""


def as_yaml(value: Any) -> str:
    """Return a value as it is written in YAML."""
    # `default`: not every value of a YAML file has a type of JSON, such as the bytes of `!!binary`.
    return json.dumps(value, default=repr).strip('"')
