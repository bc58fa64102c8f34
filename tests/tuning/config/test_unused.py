from __future__ import annotations

from typing import Any

import pytest

from tests.tuning.config import CONFIGS, PRETRAINED
from tuning.config.load import load_config, parse_config
from tuning.config.unused import check_given_settings, untried_architectures
from tuning.errors import ConfigError

NO_EFFECT = "weights_dir has no effect: no trial starts from weights that are downloaded"


@pytest.mark.parametrize(
    ("models", "by_arch", "message"),
    [
        ({}, {}, NO_EFFECT),
        ({"resnet18": {"weights": "some/file.pth"}}, {}, NO_EFFECT),
        ({"c3d": {"weights": "sports1m.pickle"}, "r3d_18": {"weights": "kinetics400"}}, {}, NO_EFFECT),
        ({"efficientnet_lite0": {"weights": "imagenet"}}, {}, NO_EFFECT),
        ({"resnet18": {"weights": "imagenet"}}, {}, None),
        ({}, {"resnet18": {"weights": ["none", "imagenet"]}}, None),
    ],
    ids=["none", "a file", "named but not tried", "in a package", "named", "tried"],
)
def test_weights_dir_is_refused_if_no_trial_reads_it(
    models: dict[str, Any], by_arch: dict[str, Any], message: str | None
) -> None:
    arch = ["resnet18", "efficientnet_lite0"]
    settings = {"weights_dir": "w", "models": models, "space": {"arch": arch, "by_arch": by_arch}}
    if message is None:
        assert parse_config(settings).weights_dir == "w"
    else:
        with pytest.raises(ConfigError, match=message):
            parse_config(settings)


def test_values_that_every_trial_replaces_are_refused() -> None:
    own = {"arch": "c3d", "by_arch": {"c3d": {"weights": "a/c3d.pt", "train": {"mixup": [0, 1]}}}}
    with pytest.raises(
        ConfigError, match="models.c3d.weights=sports1m has no effect: space.by_arch.c3d.weights tries other"
    ):
        parse_config({"space": own, "models": {"c3d": {"weights": "sports1m"}}})
    with pytest.raises(ConfigError, match="train.mixup=0.3 has no effect: space.by_arch.c3d.train.mixup tries other"):
        parse_config({"space": own, "train": {"mixup": 0.3}})
    with pytest.raises(ConfigError, match="space.lr has no effect: space.by_arch sets it for every architecture"):
        check_given_settings(parse_config({"space": {"arch": "c3d", "lr": 0.1, "by_arch": {"c3d": {"lr": 0.2}}}}))
    check_given_settings(parse_config({"space": {"lr": 0.1, "by_arch": {"c3d": {"lr": 0.2}}}}))


def test_frozen_statistics_as_an_axis_need_batch_norm_in_every_architecture() -> None:
    both = {**PRETRAINED, "space": {"train": {"frozen_statistics": [False, True]}}}
    with pytest.raises(ConfigError, match="frozen_statistics has no effect on c3d, which has no batch norm"):
        parse_config(both)
    assert parse_config({**both, "space": {**both["space"], "arch": "resnet18"}})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.split=a.csv", "data.test=0.2"], "data.test has no effect on an existing data.split"),
        (["data.split=a.csv", "data.groups=b.csv", "data.folds=3"], "data.folds, data.groups has no effect"),
        (["data.folds=3", "data.val=0.2"], "data.val has no effect with data.folds"),
    ],
)
def test_given_data_settings_without_effect_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_given_settings(load_config(CONFIGS / "demo.yaml", overrides))
    check_given_settings(load_config(CONFIGS / "demo.yaml", overrides[:1]))


def test_untried_architectures_are_those_with_settings_outside_space_arch() -> None:
    assert untried_architectures(load_config(CONFIGS / "demo.yaml", ["space.arch=c3d"])) == ["resnet18"]
