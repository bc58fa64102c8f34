from __future__ import annotations

import typing
from pathlib import Path

import pytest

from data.sampling import SAMPLERS
from data.splits import FEW_GROUPS
from tuning.config import (
    ConfigError,
    DataConfig,
    LogRange,
    SpaceConfig,
    SweepConfig,
    TrialConfig,
    absolute_paths,
    load_config,
    parse_config,
    save_config,
    unused_models,
)

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_config_that_is_shipped_is_valid(file: Path) -> None:
    assert isinstance(load_config(file), SweepConfig)


def test_overrides_are_typed_and_one_value_stands_for_a_list_of_one() -> None:
    config = load_config(
        CONFIGS / "demo.yaml",
        ["train.epochs=5", "space.arch=c3d", "space.lr=[1e-3,0.01]", "models.c3d.width=8", "search.asha=null"],
        {"data.dir": "a folder = with: signs"},
    )
    assert config.train.epochs == 5
    assert config.space.arch == ("c3d",)
    assert config.space.lr == (0.001, 0.01)
    assert config.options("c3d") == {**load_config(CONFIGS / "demo.yaml").options("c3d"), "width": 8}
    assert config.options("c3d")["batch_norm"] is True
    assert config.search.asha is None
    assert config.data.dir == "a folder = with: signs"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trian.epochs=3", "unknown setting 'trian'; did you mean 'train'?"),
        ("train.epoch=3", "unknown setting 'train.epoch'; did you mean 'train.epochs'?"),
        ("search.asha.grace=3", "unknown setting 'search.asha.grace'; did you mean 'search.asha.grace_epochs'?"),
        ("train.zzz=3", "unknown setting 'train.zzz'; there are epochs, batch_size"),
        ("train.epochs=many", "train.epochs is 'many': Input should be a valid integer"),
        ("train.epochs=2.5", "train.epochs is 2.5: Input should be a valid integer"),
        ("train.flip=1", "train.flip is 1: Input should be a valid boolean"),
        ("train.epochs=0", "train.epochs is 0: Input should be greater than or equal to 1"),
        ("space.sampler=balancd", "; did you mean 'balanced'?"),
        ("search.algorithm=gird", "; did you mean 'grid'?"),
        ("space.arch=resnet19", "resnet18"),
        ("space.arch=[]", "space: arch has no value to try"),
        ("space.lr=[0.1,0.1]", "space: lr names a value twice"),
        ("space.lr={low: 0.1, high: 0.01}", "low (0.1) must be below high (0.01)"),
        ("space.lr={low: 0.01, high: 0.1}", "space.lr is a range, which a grid can't try"),
        ("space.num_frames=12", "12"),
        ("space.num_frames=24", "set store.frames=24"),
        ("train.size=20", "20"),
        ("space.num_frames=1", "resnet18 with subtract_mean_frame can't take 1 frame"),
        ("space.num_frames=4", "c3d can't take 4 frames"),
        ("models.c3d.widht=3", "width"),
        ("models.c3d.weights=imagenet", "imagenet"),
        ("models.resnet.hidden=3", "resnet18"),
        ("search.trials=4", "search.trials has no effect on a grid"),
        ("search.algorithm=random", "needs search.trials"),
        ("search.asha.grace_epochs=99", "no trial could be stopped"),
        ("train.warmup_epochs=99", "warmup_epochs (99) must be below epochs ("),
        ("data.val=0.9", "nothing is left to train on"),
        ("data.few_groups=drop", "data.few_groups is 'drop'"),
        ("resources.gpus=1.5", "above 1 Ray takes whole numbers only"),
        ("name=a/b", "name is 'a/b'"),
        ("train.epochs.more=3", "train.epochs"),
        ("--epochs", "is not an override: write KEY=VALUE"),
        ("epochs", "is not an override: write KEY=VALUE"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIGS / "demo.yaml", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("train: [1, 2\nspace: }")
    with pytest.raises(ConfigError, match="can't be read") as caught:
        load_config(tmp_path / "broken.yaml")
    assert "\n" not in str(caught.value)
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError):
        load_config(tmp_path / "list.yaml", ["train.epochs=3"])


def test_a_saved_config_is_whole_and_reads_back(tmp_path: Path) -> None:
    config = load_config(CONFIGS / "cluster.yaml", ["train.clip_norm=null"])
    assert isinstance(config.space.lr, LogRange)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert "weight_decay" in (tmp_path / "config.yaml").read_text()


def test_paths_are_made_absolute_but_names_of_weights_are_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = absolute_paths(
        parse_config(
            {
                "data": {"dir": "clips", "groups": "sources.csv:video"},
                "models": {"resnet18": {"weights": "imagenet"}, "c3d": {"weights": "c3d.pt"}},
            }
        )
    )
    assert config.data.dir == str(tmp_path / "clips")
    assert config.data.groups == str(tmp_path / "sources.csv:video")
    assert config.data.split is None
    assert config.weights("resnet18") == "imagenet"
    assert config.weights("c3d") == str(tmp_path / "c3d.pt")


def test_a_trial_gets_the_settings_of_its_architecture_alone() -> None:
    sweep = load_config(CONFIGS / "demo.yaml")
    trial = TrialConfig.choose(sweep, {"arch": "c3d", "sampler": "balanced", "lr": 0.01, "num_frames": 8})
    assert (trial.arch, trial.weights, trial.options["width"]) == ("c3d", "none", sweep.options("c3d")["width"])
    assert trial.train == sweep.train


def test_what_was_switched_off_can_be_switched_on_by_one_of_its_settings(tmp_path: Path) -> None:
    (tmp_path / "off.yaml").write_text("search: {asha: null}\n")
    config = load_config(tmp_path / "off.yaml", ["search.asha.grace_epochs=5"])
    assert config.search.asha is not None
    assert config.search.asha.grace_epochs == 5


def test_models_that_are_set_but_not_tried_are_named() -> None:
    assert unused_models(load_config(CONFIGS / "demo.yaml", ["space.arch=c3d"])) == ["resnet18"]


def test_the_choices_are_those_of_the_data_package() -> None:
    assert set(SpaceConfig().sampler) == set(SAMPLERS)
    assert set(typing.get_args(DataConfig.model_fields["few_groups"].annotation)) == set(FEW_GROUPS)
