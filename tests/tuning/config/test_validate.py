from __future__ import annotations

import re
from typing import Any

import pytest

from tests.tuning.config import CONFIGS, PRETRAINED
from tuning.config.load import load_config, parse_config
from tuning.errors import ConfigError


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
        ("train=3", "train is 3: Input should be a mapping of settings"),
        ("models.c3d=[1]", "models.c3d is [1]: Input should be a mapping"),
        ("space.train.mixup=!!binary aGVsbG8=", "mixup=b'hello': mixup is b'hello': Input should be a valid number"),
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
        (
            "space.by_arch.c3d.num_frames=64",
            "space.by_arch.c3d.num_frames 64 is more than the 16 frames stored per clip: set store.frames=64",
        ),
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
        ("train.unfreeze_every=2", "unfreeze_every has no effect if everything trains from the start"),
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
        ("--epochs", "sweep has no option --epochs; settings are KEY=VALUE: write train.epochs=VALUE"),
        ("epochs", "is not an override: write KEY=VALUE"),
    ],
)
def test_invalid_setting_is_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIGS / "demo.yaml", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


BOTH = ["space.loss=[plain,weighted]", "space.sampler=[imbalanced,sqrt,balanced]"]


def test_balanced_sampler_with_weighted_loss_needs_balanced_and_weighted() -> None:
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
        (["train.trainable=head", "train.backbone_lr=0.1"], "backbone_lr has no effect if only the head trains"),
        (["train.trainable=head", "train.frozen_statistics=true"], "frozen_statistics has no effect if only the head"),
        (["train.trainable=head", "train.checkpoint_activations=true"], "checkpoint_activations has no effect"),
        (["train.trainable=head", "train.unfreeze_every=14"], "unfreeze_every (14) has no effect on trials of 14"),
        (["train.stored_views=4"], "stored_views needs a backbone that stays frozen: set trainable to head"),
        (["train.trainable=head", "train.unfreeze_every=2", "train.stored_views=4"], "stored_views needs a backbone"),
        (["train.trainable=head", "train.stored_views=4", "train.mixup=0.2"], "mixup mixes frames, which stored_views"),
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
def test_training_settings_without_effect_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(CONFIGS / "demo.yaml", overrides)


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
def test_fine_tuning_that_the_architecture_does_not_support_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_config(settings)


@pytest.mark.parametrize(
    "train",
    [{"trainable": 5}, {"trainable": "head", "unfreeze_every": 3, "backbone_lr": 0.1}, {"frozen_statistics": True}],
    ids=str,
)
def test_fine_tuning_from_weights_is_accepted(train: dict[str, Any]) -> None:
    assert parse_config({**PRETRAINED, "train": train}).train.model_dump(include=set(train)) == train


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
            "space.train has trainable=head, backbone_lr=0.1: backbone_lr has no effect if only the head trains",
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
def test_invalid_training_axes_are_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIGS / "demo.yaml", overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"c3d": {"lr": [0.1, 0.1]}}, "space.by_arch.c3d: lr names a value twice"),
        ({"c3d": {"lr": []}}, "space.by_arch.c3d: lr has no value to try"),
        ({"c3d": []}, "space.by_arch.c3d is an empty list"),
        ({"c3e": {"lr": 0.1}}, "no architecture is called 'c3e'; did you mean 'c3d'?"),
        ({"c3d": {"lrs": 0.1}}, "'space.by_arch.c3d.0.lrs'; did you mean 'space.by_arch.c3d.0.lr'?"),
        ({"c3d": {"num_frames": 12}}, "c3d can't take 12 frames"),
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
def test_invalid_by_arch_spaces_are_refused_in_one_line(own: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"space": {"by_arch": own}})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_dense_window_must_fit_into_the_stored_frames() -> None:
    dense = ["space.selection=[uniform,dense]"]
    assert load_config(CONFIGS / "demo.yaml", dense)
    with pytest.raises(
        ConfigError, match="16 dense frames at train.stride=2 span 31 stored frames.*set store.frames=31"
    ):
        load_config(CONFIGS / "demo.yaml", [*dense, "train.stride=2"])


def test_features_in_a_bucket_are_refused() -> None:
    settings = {
        "models": {"c3d": {"weights": "c3d.pt"}},
        "space": {"arch": "c3d"},
        "train": {"trainable": "head", "stored_views": 2},
        "store": {"dir": "s3://bucket/frames", "local": "frames"},
    }
    with pytest.raises(ConfigError, match="stored_views can't keep features in a bucket: set store.dir to a folder"):
        parse_config(settings)
