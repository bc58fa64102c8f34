"""The base class of all settings."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Settings(BaseModel):
    """Base of all settings: typed, immutable, unknown names refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


T = TypeVar("T")


def _as_tuple(value: Any) -> Any:
    # In strict mode pydantic does not accept a list where a tuple is declared.
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Listed = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
"""A list of values; a single value counts as a list of one, so that `space.arch=c3d` works."""
