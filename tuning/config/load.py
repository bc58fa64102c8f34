"""Read and write settings as YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from data.files import not_a_file
from models.errors import ModelError
from models.names import check_architecture_name
from tuning.config.defaults import with_fitting_defaults
from tuning.config.messages import validation_message
from tuning.config.overruled import drop_overruled
from tuning.config.suggestions import override_error
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.text import single_line


def load_config(
    file: Path, overrides: Sequence[str] = (), texts: Mapping[str, str | list[str]] = MappingProxyType({})
) -> SweepConfig:
    """Read a YAML file, apply overrides and validate the result.

    Args:
        file: the YAML file.
        overrides: `KEY=VALUE`, where VALUE is YAML (`train.epochs=3`, `space.arch=[c3d]`).
        texts: values of dotted keys that are strings, or lists of them, and must not be parsed as YAML, such as paths.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, or a value is invalid.
    """
    return check_config(read_config(file, overrides, texts))


def read_config(
    file: Path, overrides: Sequence[str] = (), texts: Mapping[str, str | list[str]] = MappingProxyType({})
) -> SweepConfig:
    """Do as `load_config`, but don't check yet that the settings work together, which needs PyTorch.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, or a value has the wrong type or range.
    """
    _check_overrides(overrides)
    settings = _read_yaml(file, overrides, texts)
    for note in drop_overruled(settings, [*(override.partition("=")[0] for override in overrides), *texts]):
        print(f"note: {note}", flush=True)
    return _validate(settings)


def _check_overrides(overrides: Sequence[str]) -> None:
    """Check that each word is `KEY=VALUE`.

    Raises:
        ConfigError: one is not; names the setting that was probably meant.
    """
    for override in overrides:
        if not re.match(r"^[A-Za-z_][\w.]*=", override):
            raise ConfigError(override_error(override, overrides, SweepConfig))
        if re.search(r"""=[^"'[{].*\s#""", override):
            raise ConfigError(f"{override!r}: YAML ignores what follows a #; put the value in double quotes")


def load_run_config(file: Path) -> SweepConfig:
    """Read the `config.yaml` of a run folder, which an earlier version may have written.

    Raises:
        ConfigError: as for `load_config`; the run used population-based training, which was removed.
    """
    # Resolved before it was saved: a path may contain `${`.
    settings = _read_yaml(file, resolve=False)
    search = settings.get("search") if isinstance(settings, dict) else None
    if isinstance(search, dict) and search.pop("pbt", None) is not None:
        raise ConfigError(
            f"{file} sets search.pbt, but population-based training was removed: read this run with the version that "
            "wrote it"
        )
    return parse_config(settings)


def parse_config(settings: Any) -> SweepConfig:
    """Validate settings given as plain values (dicts, lists, strings, numbers).

    Raises:
        ConfigError: as for `load_config`.
    """
    return check_config(_validate(settings))


def check_config(sweep: SweepConfig) -> SweepConfig:
    """Check that the settings of all sections work together, and return them.

    Raises:
        ConfigError: they don't; the message names the first problem.
    """
    # It imports PyTorch, which takes seconds.
    from tuning.config.validate import check_consistent

    try:
        check_consistent(sweep)
    except ValidationError as error:
        raise ConfigError(validation_message(error, SweepConfig)) from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return sweep


def _validate(settings: Any) -> SweepConfig:
    try:
        # In strict mode "3" is not accepted for 3, nor 2.5 for 2.
        sweep = SweepConfig.model_validate(settings, strict=True)
        for arch in (*sweep.space.arch, *sweep.models, *sweep.space.by_arch):
            check_architecture_name(arch)
        return with_fitting_defaults(sweep)
    except ValidationError as error:
        raise ConfigError(validation_message(error, SweepConfig)) from None
    except ModelError as error:
        raise ConfigError(str(error)) from None


def save_config(config: SweepConfig, file: Path) -> None:
    """Write all settings, including defaults, as YAML that `load_config` can read."""
    file.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def _read_yaml(
    file: Path,
    overrides: Sequence[str] = (),
    texts: Mapping[str, str | list[str]] = MappingProxyType({}),
    *,
    resolve: bool = True,
) -> Any:
    if not file.is_file():
        reason = not_a_file(file, "give a file of settings") if file.exists() else "give an existing one"
        raise ConfigError(f"no config file {str(file)!r}: {reason}, such as configs/demo.yaml")
    try:
        merged = OmegaConf.load(file)
        for override in overrides:
            key = override.split("=", 1)[0]
            # Replace, don't merge: a range may replace a list.
            OmegaConf.update(merged, key, OmegaConf.select(OmegaConf.from_dotlist([override]), key), merge=False)
        for key, text in texts.items():
            OmegaConf.update(merged, key, _literal(text))
        return OmegaConf.to_container(merged, resolve=resolve)
    except RecursionError:
        raise ConfigError(f"can't read {file} with its overrides: it is nested too deeply") from None
    # OmegaConf raises an OSError for a file that holds a single number.
    except (OmegaConfBaseException, yaml.YAMLError, TypeError, ValueError, OSError) as error:
        raise ConfigError(f"can't read {file} with its overrides: {single_line(str(error))}") from None


def _literal(text: str | list[str]) -> str | list[str]:
    """Escape what OmegaConf would replace by another setting."""
    return text.replace("${", r"\${") if isinstance(text, str) else [each.replace("${", r"\${") for each in text]
