"""One-line error messages for invalid settings."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from tuning.config.suggestions import did_you_mean, unknown_setting
from tuning.text import single_line

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
        return unknown_setting(path, root)
    if details["type"] == "value_error":
        return (f"{key}: " if key else "") + str(details["ctx"]["error"])
    reason = _REASONS.get(details["type"]) or single_line(details["msg"])
    if details["type"] == "string_pattern_mismatch":
        reason = _refused_character(details["input"], details["ctx"]["pattern"])
    message = f"{key} is {details['input']!r}: {reason}"
    if details["type"] == "literal_error":
        valid = re.findall(r"'([^']+)'", details["ctx"]["expected"])
        message += did_you_mean(str(details["input"]), valid, prefix=[])
    return message


def _refused_character(text: str, pattern: str) -> str:
    """Say which character of a text makes it differ from a pattern, which allows the same characters to its end."""
    for length in range(1, len(text) + 1):
        if not re.search(pattern, text[:length]):
            return f"it can't {'start with' if length == 1 else 'contain'} {text[length - 1]!r}"
    return "it is empty, or ends in a line break"


def _is_union_branch(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("LogRange", "constrained-int"))


def as_yaml(value: Any) -> str:
    """Return a value as it is written in YAML."""
    # `default`: not every value of a YAML file has a type of JSON, such as the bytes of `!!binary`.
    return json.dumps(value, default=repr).strip('"')
