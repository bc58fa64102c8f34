"""Settings as YAML: read with overrides, written whole, made ready for workers in other directories."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from models.registry import ARCHITECTURES
from tuning.config.messages import first_fault, one_line
from tuning.config.schema import AUTO_GROUPS, ConfigError, OwnSpaceConfig
from tuning.config.sweep_config import SweepConfig
from tuning.config.validate import check_consistent


def load_config(
    file: Path, overrides: Sequence[str] = (), texts: Mapping[str, str] = MappingProxyType({})
) -> SweepConfig:
    """A YAML file with overrides on top.

    Args:
        file: the YAML file.
        overrides: `KEY=VALUE`, where VALUE is YAML (`train.epochs=3`, `space.arch=[c3d]`).
        texts: settings by their dotted key that are taken as text as they are, whatever they look like.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (the nearest valid one is named) or a bad value.
    """
    if not file.is_file():
        raise ConfigError(f"no config file {str(file)!r}: configs/ holds ready ones")
    for override in overrides:
        if not re.match(r"^[A-Za-z_][\w.]*=", override):
            raise ConfigError(f"{override!r} is not an override: write KEY=VALUE, such as train.epochs=3")
    try:
        merged = OmegaConf.load(file)
        for override in overrides:
            key = override.split("=", 1)[0]
            # Replaced, not merged: a range may take the place of a list.
            OmegaConf.update(merged, key, OmegaConf.select(OmegaConf.from_dotlist([override]), key), merge=False)
        for key, text in texts.items():
            OmegaConf.update(merged, key, text)
        plain = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{file} with its overrides can't be read: {one_line(str(error))}") from None
    return parse_config(plain)


def parse_config(plain: Any) -> SweepConfig:
    """A sweep's settings from plain values (dicts, lists, strings, numbers).

    Raises:
        ConfigError: as for `load_config`.
    """
    try:
        # As JSON in strict mode a list may stand for a tuple, but "3" never for 3, nor 2.5 for 2.
        sweep = SweepConfig.model_validate_json(json.dumps(plain), strict=True)
        check_consistent(sweep)
    except ValidationError as error:
        raise ConfigError(first_fault(error, SweepConfig)) from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    except TypeError as error:
        raise ConfigError(f"the config holds a value that is not plain YAML: {error}") from None
    return sweep


def save_config(config: SweepConfig, file: Path) -> None:
    """Write all settings, defaults included, as YAML that `load_config` reads back."""
    file.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def absolute_paths(config: SweepConfig) -> SweepConfig:
    """Relative paths resolved against the current directory: workers have another one."""
    data, store = config.data, config.store
    updates = {
        "runs_dir": _absolute(config.runs_dir),
        "weights_dir": _absolute(config.weights_dir) if config.weights_dir else None,
        "data": data.model_copy(
            update={
                "dir": _absolute(data.dir) if data.dir else "",
                "split": _absolute(data.split) if data.split else None,
                "groups": _absolute(data.groups) if data.groups not in (None, AUTO_GROUPS) else data.groups,
            }
        ),
        "store": store.model_copy(
            update={
                "dir": store.dir if store.in_bucket else _absolute(store.dir),
                "local": _absolute(store.local) if store.local else None,
            }
        ),
        "models": {
            arch: {**settings, "weights": _absolute_weights(arch, settings["weights"])}
            if "weights" in settings
            else settings
            for arch, settings in config.models.items()
        },
        "space": config.space.model_copy(
            update={
                "by_arch": {
                    arch: tuple(_with_absolute_weights(arch, own) for own in spaces)
                    for arch, spaces in config.space.by_arch.items()
                }
            }
        ),
    }
    return config.model_copy(update=updates)


def _with_absolute_weights(arch: str, own: OwnSpaceConfig) -> OwnSpaceConfig:
    if own.weights is None:
        return own
    return own.model_copy(update={"weights": tuple(_absolute_weights(arch, each) for each in own.weights)})


def _absolute_weights(arch: str, weights: str) -> str:
    return weights if weights in ("none", *ARCHITECTURES[arch].weights) else _absolute(weights)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def refuse_unused(config: SweepConfig) -> None:
    """Refuse settings that were given and that others make void.

    Raises:
        ConfigError: such a setting; says which.
    """
    data, space = config.data, config.space
    given = data.model_fields_set
    if data.split is not None:
        void = sorted(given & {"groups", "folds", "val", "test", "seed", "few_groups"})
        if void:
            names = ", ".join(f"data.{name}" for name in void)
            raise ConfigError(f"{names} has no effect on an existing data.split: leave one of them out")
    if data.folds and "val" in given:
        raise ConfigError("data.val has no effect with data.folds, each of which is validated on: leave it out")
    own = [each for arch in space.arch for each in space.by_arch.get(arch, (None,))]
    for name in ("lr", "num_frames"):
        if name in space.model_fields_set and all(getattr(each, name, None) is not None for each in own):
            raise ConfigError(f"space.{name} has no effect where space.by_arch has one for each: leave one of them out")


def unused_models(config: SweepConfig) -> list[str]:
    """Architectures that have options or a space of their own, but are not tried."""
    return [name for name in {**config.models, **config.space.by_arch} if name not in config.space.arch]
