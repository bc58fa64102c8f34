from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.config import CONFIGS
from tuning.config.load import load_config, parse_config, save_config
from tuning.errors import ConfigError

SHIPPED = sorted(CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_one_epoch_can_be_tried_with_every_shipped_config(file: Path) -> None:
    config = load_config(file, ["train.epochs=1"])
    assert (config.train.epochs, config.train.warmup_epochs) == (1, 0.5)
    if config.search.asha is not None:
        assert config.search.asha.grace_epochs == 1


def test_shipped_configs_keep_their_values() -> None:
    for file in SHIPPED:
        config = load_config(file)
        assert config.train.warmup_epochs == 1.0
        assert {"grace_epochs": getattr(config.search.asha, "grace_epochs", None)} in (
            {"grace_epochs": 4},
            {"grace_epochs": 3},
            {"grace_epochs": None},
        )


@pytest.mark.parametrize(
    ("settings", "section", "expected"),
    [
        ({"train": {"epochs": 1}}, "train", {"warmup_epochs": 0.5}),
        ({"train": {"epochs": 2}}, "train", {"warmup_epochs": 1.0}),
        ({"train": {"epochs": 1, "warmup_epochs": 0}}, "train", {"warmup_epochs": 0.0}),
        ({"space": {"num_frames": 64}}, "store", {"frames": 64}),
        ({"space": {"by_arch": {"c3d": {"num_frames": 48}}}}, "store", {"frames": 48}),
        ({"space": {"selection": "dense"}, "train": {"stride": 3}}, "store", {"frames": 46}),
        ({"store": {"frames": 8}}, "space", {"num_frames": (8,)}),
        ({"store": {"frames": 6}, "space": {"arch": "resnet18"}}, "space", {"num_frames": (6,)}),
        ({"data": {"max_seconds": 0.4}}, "data", {"min_seconds": 0.2}),
        ({"data": {"min_seconds": 90}}, "data", {"max_seconds": 180.0}),
        ({}, "store", {"frames": 32}),
        ({}, "space", {"num_frames": (8, 16)}),
    ],
    ids=str,
)
def test_default_follows_from_what_is_set(settings: dict[str, Any], section: str, expected: dict[str, Any]) -> None:
    found = getattr(parse_config(settings), section)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": {"epochs": 1, "warmup_epochs": 1}}, r"warmup_epochs \(1\) must be below epochs \(1\)"),
        ({"train": {"epochs": 1}, "search": {"asha": {"grace_epochs": 2}}}, r"grace_epochs \(2\) is more than train"),
        ({"store": {"frames": 8}, "space": {"num_frames": 16}}, "16 is more than the 8 frames stored per clip"),
        ({"data": {"min_seconds": 2, "max_seconds": 1}}, r"min_seconds \(2\) must be below max_seconds \(1\)"),
    ],
    ids=str,
)
def test_what_the_user_wrote_in_contradiction_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(settings)


def test_derived_defaults_are_saved_and_read_as_they_are(tmp_path: Path) -> None:
    config = parse_config({"train": {"epochs": 1}, "space": {"num_frames": 64}, "data": {"max_seconds": 0.4}})
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_derived_warm_up_is_not_refused_beside_an_axis_of_others() -> None:
    config = parse_config({"train": {"epochs": 1}, "space": {"train": {"warmup_epochs": [0, 0.25]}}})
    assert [train.warmup_epochs for train in config.train_configs(config.subspaces()[0])] == [0.0, 0.25]
