from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuning.config import CONFIGS
from tuning.config.load import load_config
from tuning.config.unused import check_given_settings
from tuning.errors import ConfigError

LONG = "train: {epochs: 30, warmup_epochs: 5, patience: 8, micro_batch: 4}\nsearch: {asha: {grace_epochs: 3}}\n"


def notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.removeprefix("note: ") for line in capsys.readouterr().out.splitlines()]


def test_limits_of_the_file_yield_to_fewer_epochs_and_smaller_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    config = load_config(tmp_path / "long.yaml", ["train.epochs=3", "train.batch_size=4"])
    assert (config.train.warmup_epochs, config.train.patience, config.train.micro_batch) == (1.0, None, None)
    assert config.search.asha is not None
    assert config.search.asha.grace_epochs == 3
    assert notes(capsys) == [
        "train.warmup_epochs=5 of the config file is not used, because train.epochs is 3",
        "train.patience=8 of the config file is not used, because train.epochs is 3",
        "train.micro_batch=4 of the config file is not used, because train.batch_size is 4",
    ]


@pytest.mark.parametrize(
    "also", ["train.warmup_epochs=2", "search.asha.grace_epochs=2", "search.asha={grace_epochs: 2}"]
)
def test_limits_on_the_command_line_do_not_yield(also: str) -> None:
    with pytest.raises(ConfigError, match="warmup_epochs|grace_epochs"):
        load_config(CONFIGS / "quick.yaml", ["train.epochs=1", also])


@pytest.mark.parametrize("arch", ["resnet18", "c3d", "r3d_18", "[tsm_resnet18, r3d_18]"])
def test_one_architecture_of_a_config_with_many_can_be_tried(arch: str) -> None:
    config = load_config(CONFIGS / "full.yaml", [f"space.arch={arch}"])
    check_given_settings(config)
    every = {space.arch: space.axes for space in load_config(CONFIGS / "full.yaml").subspaces()}
    for space in config.subspaces():
        assert {axis: every[space.arch][axis] for axis in space.axes} == space.axes


@pytest.mark.parametrize(
    ("file", "overrides", "texts", "dropped"),
    [
        ("compare", [], {"data.split": "split.csv"}, ["data.folds=3", "data.few_groups=train"]),
        ("compare", [], {"data.split": "folders"}, ["data.folds=3", "data.few_groups=train"]),
        ("compare", [], {"data.split": "merge"}, []),
        ("quick", ["train.trainable=head"], {}, ["train.backbone_lr=0.3"]),
        ("cluster", ["search.algorithm=grid", "space.lr=[0.1, 0.01]"], {}, ["search.trials=48"]),
    ],
)
def test_setting_of_the_file_without_effect_is_dropped_with_a_note(
    file: str, overrides: list[str], texts: dict[str, str], dropped: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    check_given_settings(load_config(CONFIGS / f"{file}.yaml", overrides, texts))
    assert [note.split(" of the config file is not used")[0] for note in notes(capsys)] == dropped


def test_settings_of_a_frozen_backbone_yield_when_all_of_it_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for setting in ("unfreeze_every: 3", "stored_views: 4"):
        (tmp_path / "head.yaml").write_text(
            f"train: {{trainable: head, {setting}}}\nmodels: {{resnet18: {{weights: imagenet}}}}\n"
            "space: {arch: resnet18}\n"
        )
        load_config(tmp_path / "head.yaml")
        assert notes(capsys) == []
        load_config(tmp_path / "head.yaml", ["train.trainable=all"])
        (note,) = notes(capsys)
        assert note.endswith(" of the config file is not used, because train.trainable is all")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["space.lr=[0.1]"],
            "space.by_arch sets it for every architecture; leave one of them out, or set space.by_arch.",
        ),
        (["space.arch=resnet18", "space.lr=[0.1]"], "or set space.by_arch.resnet18.lr"),
        (["search.algorithm=grid", "search.trials=3"], "search.trials has no effect on a grid"),
        (["data.folds=3", "data.val=0.2"], "data.val has no effect with data.folds"),
        (["train.trainable=head", "train.backbone_lr=0.5"], "backbone_lr has no effect if only the head trains"),
    ],
    ids=str,
)
def test_contradiction_on_the_command_line_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_given_settings(load_config(CONFIGS / "quick.yaml", overrides))
    assert message in str(caught.value)
