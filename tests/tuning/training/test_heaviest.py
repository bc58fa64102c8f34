from __future__ import annotations

from tests.helpers.noise_data import small_sweep
from tuning.training.heaviest import heaviest_trials


def test_heaviest_trial_of_each_architecture_has_the_largest_values() -> None:
    sweep = small_sweep(
        space={
            "arch": ["resnet18", "c3d"],
            "num_frames": [8, 16],
            "train": {"batch_size": [4, 8], "trainable": ["head", "all"], "ema": [0.9]},
            "by_arch": {"resnet18": {"num_frames": [3], "options": {"temporal_width": [16, 64], "temporal": ["lstm"]}}},
        },
        train={"size": 48},
        models={"resnet18": {"weights": "imagenet"}, "c3d": {"weights": "sports1m"}},
    )
    resnet, c3d = heaviest_trials(sweep)
    assert (resnet.arch, resnet.num_frames, resnet.options["temporal_width"]) == ("resnet18", 3, 64)
    assert (c3d.arch, c3d.num_frames, c3d.train.batch_size, c3d.train.trainable) == ("c3d", 16, 8, "all")
    assert c3d.train.ema == 0.9


def test_training_all_layers_outweighs_a_larger_batch_of_the_head() -> None:
    own = [{"train": {"trainable": ["head"], "batch_size": [8]}}, {"train": {"trainable": ["all"], "batch_size": [4]}}]
    sweep = small_sweep(space={"by_arch": {"resnet18": own}}, models={"resnet18": {"weights": "imagenet"}})
    (trial,) = heaviest_trials(sweep)
    assert trial.train.trainable == "all"
