from __future__ import annotations

from tests.helpers.trial_results import CHOICE
from tests.tuning.config import CONFIGS
from tuning.config.load import load_config
from tuning.config.trial_config import TrialConfig


def test_frame_selection_uses_min_span_or_stride() -> None:
    overrides = ["space.selection=[uniform,dense]", "train.min_span=0.5", "train.stride=1"]
    sweep = load_config(CONFIGS / "demo.yaml", overrides)
    choice = CHOICE | {"num_frames": 8}
    assert TrialConfig.from_choice(sweep, choice).frame_selection().min_span == 0.5
    dense = TrialConfig.from_choice(sweep, choice | {"selection": "dense"}).frame_selection()
    assert (dense.kind, dense.min_span) == ("dense", 1.0)


def test_trial_has_the_options_of_its_architecture() -> None:
    sweep = load_config(CONFIGS / "demo.yaml")
    trial = TrialConfig.from_choice(sweep, CHOICE | {"num_frames": 8})
    assert (trial.arch, trial.weights, trial.options["width"]) == ("c3d", "none", sweep.options("c3d")["width"])
    assert trial.train == sweep.train
