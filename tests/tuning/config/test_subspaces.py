from __future__ import annotations

from tests.helpers.trial_results import CHOICE
from tests.tuning.config import CONFIGS
from tuning.config.load import load_config, parse_config
from tuning.config.schema.space import AXES
from tuning.config.trial_config import TrialConfig


def test_training_settings_can_be_axes() -> None:
    sweep = load_config(
        CONFIGS / "demo.yaml", ["space.train.mixup=[0,0.2]", "space.train.ema=[null,0.9]", "space.train.size=[48,64]"]
    )
    for subspace in sweep.subspaces():
        assert subspace.axes["train.mixup"] == (0, 0.2)
        assert [*subspace.axes] == [*AXES, "train.mixup", "train.ema", "train.size"]
        assert len(sweep.train_configs(subspace)) == 8
    choice = CHOICE | {"num_frames": 8}
    extra = {"train.mixup": 0.2, "train.ema": None, "train.size": 64}
    trial = TrialConfig.from_choice(sweep, choice | extra | {"seed": 7})
    assert trial.train == sweep.train.model_copy(update={"mixup": 0.2, "ema": None, "size": 64, "seed": 7})
    assert trial.train.mixup == 0.2


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


def test_by_arch_gives_an_architecture_its_own_subspaces() -> None:
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


def test_trial_of_a_subspace_has_the_options_and_training_settings_of_it() -> None:
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
