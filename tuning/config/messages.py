"""What is wrong with settings, in one line that names the value and the mend."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def first_fault(error: ValidationError, root: type[BaseModel]) -> str:
    """Pydantic lists every fault over several lines; the first with its mend is what a person acts on."""
    faults = error.errors(include_url=False)
    # Of the faults that each branch of a union finds, these say most.
    telling = {"extra_forbidden": 0, "value_error": 1, "greater_than_equal": 2}
    fault = min(faults, key=lambda fault: telling.get(fault["type"], len(telling)))
    place = [str(part) for part in fault["loc"] if not _is_union_branch(part)]
    key = ".".join(place)
    if fault["type"] == "extra_forbidden":
        return f"unknown setting {key!r}{nearest(place[-1], _fields_at(place[:-1], root), prefix=place[:-1])}"
    if fault["type"] == "value_error":
        return (f"{key}: " if key else "") + str(fault["ctx"]["error"])
    what = "it has characters that it may not have" if fault["type"] == "string_pattern_mismatch" else fault["msg"]
    text = f"{key} is {fault['input']!r}: {one_line(what)}"
    if fault["type"] == "literal_error":
        valid = re.findall(r"'([^']+)'", fault["ctx"]["expected"])
        text += nearest(str(fault["input"]), valid, prefix=[]) if valid else ""
    return text


def _is_union_branch(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("LogRange", "constrained-int"))


def _fields_at(place: Sequence[str], root: type[BaseModel]) -> list[str]:
    model = root
    for name in place:
        # A name that is no field is the key of a mapping or the place in a list, of the same kind throughout.
        if name in model.model_fields:
            model = _settings_in(model.model_fields[name].annotation) or model
    return list(model.model_fields)


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_settings_in, get_args(annotation))), None)


def nearest(word: str, valid: Sequence[str], prefix: Sequence[str]) -> str:
    """The end of a message on a word that is none of the valid ones."""
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {'.'.join([*prefix, near[0]])!r}?"
    return f"; there are {', '.join(valid)}"


def one_line(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.split())


def spelled(value: Any) -> str:
    """As it is written in YAML."""
    return json.dumps(value).strip('"')
