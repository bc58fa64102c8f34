from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

import pytest

from data.dataset.splits import FEW_GROUPS
from data.loading.sampling import SAMPLERS, SELECTIONS
from tuning.config.load import load_config, parse_config, save_config
from tuning.config.paths import absolute_paths
from tuning.config.run_folder import RunFolder
from tuning.config.schema.data import DataConfig
from tuning.config.schema.search import AshaConfig
from tuning.config.schema.space import AXES, LogRange, SpaceConfig
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.config.unused import check_given_settings, untried_architectures
from tuning.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs"


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
        ("train.zzz=3", "unknown setting 'train.zzz'; choose from epochs, batch_size"),
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
        ("space.lr=1e400", "Input should be a finite number"),
        ("space.num_frames=1", "resnet18 with subtract_mean_frame can't take 1 frame"),
        ("space.num_frames=4", "c3d can't take 4 frames"),
        ("models.c3d.widht=3", "width"),
        ("models.c3d.weights=imagenet", "imagenet"),
        ("models.resnet.hidden=3", "no architecture is called 'resnet'; did you mean 'resnet"),
        ("search.trials=4", "search.trials has no effect on a grid"),
        ("search.algorithm=random", "needs search.trials"),
        ("search.asha.grace_epochs=99", "no trial could be stopped"),
        ("train.warmup_epochs=99", "warmup_epochs (99) must be below epochs ("),
        ("train.trainable=body", "train.trainable is 'body': Input should be 'all' or 'head'"),
        ("train.trainable=0", "train.trainable is 0: Input should be greater than or equal to 1"),
        ("train.unfreeze_every=2", "unfreeze_every has no effect where all trains from the start"),
        ("train.patience=14", "patience (14) has no effect on trials of 14 epochs"),
        ("train.micro_batch=8", "micro_batch (8) has no effect on batches of 8"),
        ("train.ema=1.0", "train.ema is 1.0: Input should be less than 1"),
        ("train.randaugment=31", "train.randaugment is 31: Input should be less than or equal to 30"),
        ("train.randaugment=0.5", "train.randaugment is 0.5: Input should be a valid integer"),
        ("train.erasing=1.5", "train.erasing is 1.5"),
        ("train.mixup=-0.1", "train.mixup is -0.1"),
        ("train.min_span=0", "train.min_span is 0"),
        ("test.views=0", "test.views is 0: Input should be greater than or equal to 1"),
        ("test.crops=2", "test.crops is 2: Input should be 1 or 3"),
        ("train.backbone_lr=0", "train.backbone_lr is 0"),
        ("data.val=0.9", "nothing is left to train on"),
        ("data.folds=1", "one fold leaves nothing to train on"),
        ("space.loss=[plain,weighted]", "balanced with weighted loss, which corrects the imbalance twice"),
        ("space.balanced_and_weighted=try", "has no effect: no trial has both"),
        ("train.stride=2", "train.stride has no effect on uniform frames"),
        ("space.selection=sparse", "is 'sparse': Input should be 'uniform' or 'dense'"),
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


BOTH = ["space.loss=[plain,weighted]", "space.sampler=[imbalanced,sqrt,balanced]"]


def test_a_balanced_sampler_with_a_weighted_loss_must_be_asked_for_by_name() -> None:
    with pytest.raises(ConfigError, match="sqrt with weighted loss, balanced with weighted loss.*leave-out.*or try"):
        load_config(CONFIGS / "demo.yaml", BOTH)
    assert load_config(CONFIGS / "demo.yaml", [*BOTH, "space.balanced_and_weighted=try"])
    assert load_config(CONFIGS / "demo.yaml", [*BOTH, "space.balanced_and_weighted=leave-out"])
    with pytest.raises(ConfigError, match="leave-out does not work with search.algorithm=optuna"):
        load_config(
            CONFIGS / "demo.yaml",
            [*BOTH, "space.balanced_and_weighted=leave-out", "search.algorithm=optuna", "search.trials=3"],
        )
    only = ["space.loss=weighted", "space.sampler=balanced", "space.balanced_and_weighted=leave-out"]
    with pytest.raises(ConfigError, match="leaves no trial"):
        load_config(CONFIGS / "demo.yaml", only)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.trainable=head", "train.backbone_lr=0.1"], "backbone_lr has no effect where the head alone trains"),
        (["train.trainable=head", "train.frozen_statistics=true"], "frozen_statistics has no effect where the head"),
        (["train.trainable=head", "train.checkpoint_activations=true"], "checkpoint_activations has no effect"),
        (["train.trainable=head", "train.unfreeze_every=14"], "unfreeze_every (14) has no effect on trials of 14"),
        (["train.batch_size=1", "train.mixup=0.2"], "mixup has no effect on batches of one clip"),
        (["train.batch_size=1", "train.cutmix=1"], "cutmix has no effect on batches of one clip"),
        (["train.min_span=0.5", "space.selection=dense"], "train.min_span has no effect on dense frames"),
        (["train.compile=true", "train.checkpoint_activations=true"], "compile does not work with checkpoint_activ"),
        (
            ["train.compile=true", "train.trainable=head", "train.unfreeze_every=2"],
            "compile does not work with unfreeze_every",
        ),
    ],
)
def test_settings_of_training_that_others_make_void_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(CONFIGS / "demo.yaml", overrides)


PRETRAINED = {"models": {"resnet18": {"weights": "imagenet"}, "c3d": {"weights": "c3d.pt"}}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": {"trainable": "head"}}, "train.trainable=head would freeze random weights of resnet18"),
        (
            {"train": {"frozen_statistics": True}},
            "train.frozen_statistics=true would freeze random weights of resnet18",
        ),
        ({**PRETRAINED, "train": {"trainable": 6}}, "train.trainable is 6, but c3d's backbone has 5 stages"),
        (
            {**PRETRAINED, "train": {"trainable": 5, "unfreeze_every": 2}},
            "train.unfreeze_every has no effect on c3d, all of whose 5 stages train",
        ),
        (
            {**PRETRAINED, "space": {"arch": "c3d"}, "train": {"frozen_statistics": True}},
            "train.frozen_statistics has no effect on c3d, which has no batch norm",
        ),
    ],
)
def test_fine_tuning_that_an_architecture_cannot_have_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_config(settings)


@pytest.mark.parametrize(
    "train",
    [{"trainable": 5}, {"trainable": "head", "unfreeze_every": 3, "backbone_lr": 0.1}, {"frozen_statistics": True}],
    ids=str,
)
def test_fine_tuning_from_weights_is_accepted(train: dict[str, Any]) -> None:
    assert parse_config({**PRETRAINED, "train": train}).train.model_dump(include=set(train)) == train


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
def test_a_weights_folder_that_nobody_looks_into_is_refused(
    models: dict[str, Any], by_arch: dict[str, Any], message: str | None
) -> None:
    arch = ["resnet18", "efficientnet_lite0"]
    settings = {"weights_dir": "w", "models": models, "space": {"arch": arch, "by_arch": by_arch}}
    if message is None:
        assert parse_config(settings).weights_dir == "w"
    else:
        with pytest.raises(ConfigError, match=message):
            parse_config(settings)


def test_settings_of_training_can_be_axes() -> None:
    sweep = load_config(
        CONFIGS / "demo.yaml", ["space.train.mixup=[0,0.2]", "space.train.ema=[null,0.9]", "space.train.size=[48,64]"]
    )
    for subspace in sweep.subspaces():
        assert subspace.axes["train.mixup"] == (0, 0.2)
        assert [*subspace.axes] == [*AXES, "train.mixup", "train.ema", "train.size"]
        assert len(sweep.train_configs(subspace)) == 8
    choice = dict(zip(AXES, ("c3d", "none", "balanced", "plain", 0.01, 8, "uniform"), strict=True))
    further = {"train.mixup": 0.2, "train.ema": None, "train.size": 64}
    trial = TrialConfig.from_choice(sweep, choice | further | {"seed": 7})
    assert trial.train == sweep.train.model_copy(update={"mixup": 0.2, "ema": None, "size": 64, "seed": 7})
    assert trial.train.mixup == 0.2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["space.train.mixupp=[0,1]"], "unknown setting 'space.train.mixupp'; did you mean 'space.train.mixup'?"),
        (["space.train.mixup=[]"], "space: train.mixup has no value to try"),
        (["space.train.mixup=[1,1]"], "space: train.mixup names a value twice"),
        (["space.train.mixup=[0,-1]"], "space.train has mixup=-1: mixup is -1: Input should be greater than or equal"),
        (["space.train.mixup={low: 1, high: 2}"], "mixup is {'low': 1, 'high': 2}: Input should be a valid number"),
        (["space.train.flip=[true,0]"], "space.train has flip=0: flip is 0: Input should be a valid boolean"),
        (["space.train.epochs=[3,5]"], "space.train.epochs can't be tried: the scheduler and the leaderboard"),
        (["space.train.seed=[0,1]"], "space.train.seed can't be tried: a lucky seed would win"),
        (["space.train.ema=[0.9,0.99]", "train.ema=0.5"], "train.ema=0.5 has no effect: space.train.ema tries"),
        (
            ["space.train.trainable=[all,head]", "space.train.backbone_lr=[1,0.1]"],
            "space.train has trainable=head, backbone_lr=0.1: backbone_lr has no effect where the head alone trains",
        ),
        (["space.train.size=[48,40]"], "c3d can't take frames of size 40"),
        (["space.train.trainable=[all,head]"], "train.trainable=head would freeze random weights of resnet18"),
        (
            ["space.train.stride=[1,2]", "space.selection=[uniform,dense]"],
            "space.train.stride has no effect on uniform frames",
        ),
        (["space.train.min_span=[1,0.5]", "space.selection=[uniform,dense]"], "space.train.min_span has no effect on"),
        (["space.train.stride=[1,2]", "space.selection=dense"], "16 dense frames at train.stride=2 span 31 stored"),
    ],
)
def test_axes_of_training_that_cannot_be_tried_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIGS / "demo.yaml", overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


OWN = {
    "arch": ["resnet18", "c3d"],
    "lr": [0.001, 0.0001],
    "train": {"mixup": [0, 0.2]},
    "by_arch": {
        "resnet18": [
            {"weights": "none", "num_frames": 4},
            {
                "weights": ["imagenet", "a/b.pt"],
                "lr": 0.01,
                "train": {"trainable": ["head", 2], "mixup": 0.5},
                "options": {"temporal": ["average", "attention"]},
            },
        ]
    },
}


def test_an_architecture_may_have_spaces_of_its_own() -> None:
    sweep = parse_config({"space": OWN, "train": {"mixup": 0.2}})
    first, second, c3d = sweep.subspaces()
    assert list(first.axes) == list(second.axes) == list(c3d.axes)
    assert [*c3d.axes] == [*AXES, "train.mixup", "train.trainable", "model.temporal"]
    assert first.axes["weights"] == c3d.axes["weights"] == ("none",)
    assert (first.axes["num_frames"], c3d.axes["num_frames"]) == ((4,), (8, 16))
    assert (first.axes["lr"], second.axes["lr"]) == ((0.001, 0.0001), (0.01,))
    assert first.axes["train.mixup"] == c3d.axes["train.mixup"] == (0, 0.2)
    assert (first.axes["train.trainable"], second.axes["train.trainable"]) == (("all",), ("head", 2))
    assert (second.axes["train.mixup"], second.axes["model.temporal"]) == ((0.5,), ("average", "attention"))
    assert first.axes["model.temporal"] == (None,)


def test_a_trial_of_such_a_space_has_its_own_settings() -> None:
    sweep = parse_config({"space": OWN, "models": {"resnet18": {"hidden": 8, "temporal": "lstm"}}})
    first, second, _ = sweep.subspaces()
    chosen = [TrialConfig.from_choice(sweep, next(space.combinations([*space.axes]))) for space in (first, second)]
    assert [trial.weights for trial in chosen] == ["none", "imagenet"]
    assert [trial.options for trial in chosen] == [
        {"hidden": 8, "temporal": "lstm"},
        {"hidden": 8, "temporal": "average"},
    ]
    assert [trial.train.trainable for trial in chosen] == ["all", "head"]
    assert [trial.train.mixup for trial in chosen] == [0, 0.5]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"c3d": {"lr": [0.1, 0.1]}}, "space.by_arch.c3d: lr names a value twice"),
        ({"c3d": {"lr": []}}, "space.by_arch.c3d: lr has no value to try"),
        ({"c3d": []}, "space.by_arch.c3d is an empty list"),
        ({"c3e": {"lr": 0.1}}, "no architecture is called 'c3e'; did you mean 'c3d'?"),
        ({"c3d": {"lrs": 0.1}}, "'space.by_arch.c3d.0.lrs'; did you mean 'space.by_arch.c3d.0.lr'?"),
        ({"c3d": {"num_frames": 12}}, "c3d can't take 12 frames"),
        ({"c3d": {"num_frames": 64}}, "space.by_arch.c3d.num_frames 64 is more than the 32 frames stored per clip"),
        ({"c3d": {"weights": "kinetics"}}, "c3d has no weights 'kinetics'"),
        ({"c3d": {"lr": {"low": 0.1, "high": 1}}}, "space.by_arch.c3d.lr is a range, which a grid can't try"),
        ({"c3d": {"train": {"mixupp": 1}}}, "did you mean 'space.by_arch.c3d.train.mixup'?"),
        ({"c3d": {"train": {"seed": 1}}}, "space.by_arch.c3d.train.seed can't be tried"),
        ({"c3d": [{"train": {"epochs": 3}}, {"lr": 0.5}]}, "space.by_arch.c3d.train.epochs can't be tried"),
        ({"c3d": {"train": {"mixup": -1}}}, "space.by_arch.c3d.train has mixup=-1: mixup is -1"),
        ({"c3d": {"train": {"trainable": "head"}}}, "trainable=head would freeze random weights of c3d"),
        ({"c3d": {"options": {"temporal": "lstm"}}}, "c3d has no option 'temporal'"),
        ({"c3d": [{"lr": 0.1}, {"lr": [0.1, 0.2]}]}, "two spaces of space.by_arch.c3d have the same choice"),
    ],
    ids=str,
)
def test_spaces_of_one_architecture_that_cannot_be_tried_are_refused(own: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"space": {"by_arch": own}})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_that_no_space_tries_are_refused() -> None:
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


def test_frozen_statistics_are_tried_where_all_have_some() -> None:
    both = {**PRETRAINED, "space": {"train": {"frozen_statistics": [False, True]}}}
    with pytest.raises(ConfigError, match="frozen_statistics has no effect on c3d, which has no batch norm"):
        parse_config(both)
    assert parse_config({**both, "space": {**both["space"], "arch": "resnet18"}})


def test_a_trial_selects_frames_by_the_settings_of_its_kind() -> None:
    overrides = ["space.selection=[uniform,dense]", "train.min_span=0.5", "train.stride=1"]
    sweep = load_config(CONFIGS / "demo.yaml", overrides)
    choice = dict(zip(AXES, ("c3d", "none", "balanced", "plain", 0.01, 8, "uniform"), strict=True))
    assert TrialConfig.from_choice(sweep, choice).frame_selection().min_span == 0.5
    dense = TrialConfig.from_choice(sweep, choice | {"selection": "dense"}).frame_selection()
    assert (dense.kind, dense.min_span) == ("dense", 1.0)


def test_a_dense_window_must_fit_into_what_is_stored() -> None:
    dense = ["space.selection=[uniform,dense]"]
    assert load_config(CONFIGS / "demo.yaml", dense)
    with pytest.raises(
        ConfigError, match="16 dense frames at train.stride=2 span 31 stored frames.*set store.frames=31"
    ):
        load_config(CONFIGS / "demo.yaml", [*dense, "train.stride=2"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.split=a.csv", "data.test=0.2"], "data.test has no effect on an existing data.split"),
        (["data.split=a.csv", "data.groups=b.csv", "data.folds=3"], "data.folds, data.groups has no effect"),
        (["data.folds=3", "data.val=0.2"], "data.val has no effect with data.folds"),
    ],
)
def test_settings_that_others_make_void_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_given_settings(load_config(CONFIGS / "demo.yaml", overrides))
    check_given_settings(load_config(CONFIGS / "demo.yaml", overrides[:1]))


def test_a_file_that_is_missing_or_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("train: [1, 2\nspace: }")
    with pytest.raises(ConfigError, match="can't read") as caught:
        load_config(tmp_path / "broken.yaml")
    assert "\n" not in str(caught.value)
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError):
        load_config(tmp_path / "list.yaml", ["train.epochs=3"])


def test_a_saved_config_is_whole_and_reads_back(tmp_path: Path) -> None:
    config = load_config(CONFIGS / "cluster.yaml", ["train.clip_norm=null", "space.train.cutmix=[0,1]"])
    assert isinstance(config.space.lr, LogRange)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert "weight_decay" in (tmp_path / "config.yaml").read_text()


OLD_RUN_CONFIG = Path(__file__).with_name("run_config_with_pbt.yaml")
"""config.yaml of a run made before population-based training was removed."""


def old_run(folder: Path, pbt: str) -> RunFolder:
    run = RunFolder(folder)
    run.config.write_text(OLD_RUN_CONFIG.read_text().replace("pbt: null", f"pbt: {pbt}"))
    return run


def test_config_of_an_old_run_may_have_null_for_population_based_training(tmp_path: Path) -> None:
    config = old_run(tmp_path, "null").read_config()
    assert (config.name, config.search.asha) == ("demo-20261129-112628", AshaConfig(grace_epochs=4, reduction_factor=2))
    assert config.options("c3d")["width"] == 16


def test_config_of_an_old_run_with_population_based_training_is_refused(tmp_path: Path) -> None:
    run = old_run(tmp_path, "{interval_epochs: 2}")
    with pytest.raises(
        ConfigError, match="config.yaml sets search.pbt, but population-based training was removed: read"
    ):
        run.read_config()


@pytest.mark.parametrize("pbt", ["null", "{interval_epochs: 2}"])
def test_new_config_with_population_based_training_is_refused(pbt: str) -> None:
    with pytest.raises(ConfigError, match="^search.pbt: population-based training was removed: leave it out"):
        load_config(CONFIGS / "demo.yaml", [f"search.pbt={pbt}"])


def test_paths_are_made_absolute_but_names_of_weights_are_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = absolute_paths(
        parse_config(
            {
                "data": {"dir": "clips", "groups": "sources.csv:video"},
                "weights_dir": "../weights",
                "models": {"resnet18": {"weights": "imagenet"}, "c3d": {"weights": "c3d.pt"}},
                "space": {"arch": ["resnet18", "c3d", "s3d"], "by_arch": {"s3d": {"weights": ["none", "s3d.pt"]}}},
            }
        )
    )
    assert config.subspaces()[2].axes["weights"] == ("none", str(tmp_path / "s3d.pt"))
    assert config.data.dir == str(tmp_path / "clips")
    assert config.data.groups == str(tmp_path / "sources.csv:video")
    assert config.data.split is None
    assert config.weights("resnet18") == "imagenet"
    assert config.weights("c3d") == str(tmp_path / "c3d.pt")
    assert config.weights_dir == f"{tmp_path}/../weights"
    assert absolute_paths(parse_config({})).weights_dir is None


def test_a_trial_gets_the_settings_of_its_architecture_alone() -> None:
    sweep = load_config(CONFIGS / "demo.yaml")
    trial = TrialConfig.from_choice(
        sweep, dict(zip(AXES, ("c3d", "none", "balanced", "plain", 0.01, 8, "uniform"), strict=True))
    )
    assert (trial.arch, trial.weights, trial.options["width"]) == ("c3d", "none", sweep.options("c3d")["width"])
    assert trial.train == sweep.train


def test_what_was_switched_off_can_be_switched_on_by_one_of_its_settings(tmp_path: Path) -> None:
    (tmp_path / "off.yaml").write_text("search: {asha: null}\n")
    config = load_config(tmp_path / "off.yaml", ["search.asha.grace_epochs=5"])
    assert config.search.asha is not None
    assert config.search.asha.grace_epochs == 5


def test_models_that_are_set_but_not_tried_are_named() -> None:
    assert untried_architectures(load_config(CONFIGS / "demo.yaml", ["space.arch=c3d"])) == ["resnet18"]


def test_the_choices_are_those_of_the_data_package() -> None:
    assert SpaceConfig(sampler=SAMPLERS, selection=SELECTIONS)
    assert set(typing.get_args(DataConfig.model_fields["few_groups"].annotation)) == set(FEW_GROUPS)
