from __future__ import annotations

import pytest

from tests.helpers.checkpoints import TRIAL
from tuning.config.schema.train import TrainConfig
from tuning.trial.worker import is_finished


@pytest.mark.parametrize(
    ("patience", "scores", "expected"),
    [
        (None, [], False),
        (None, [0.5, 0.4, 0.3, 0.2, 0.1], False),
        (None, [0.5] * 6, True),
        (2, [], False),
        (2, [0.5, 0.4], False),
        (2, [0.5, 0.4, 0.6, 0.5], False),
        (2, [0.5, 0.4, 0.3], True),
        (2, [0.3, 0.5, 0.5, 0.5], True),
    ],
)
def test_trial_is_finished_after_its_epochs_or_its_patience(
    patience: int | None, scores: list[float], expected: bool
) -> None:
    trial = TRIAL.model_copy(update={"train": TrainConfig(epochs=6, patience=patience)})
    history = [{"val_macro_f1": score, "val_accuracy": number / 10} for number, score in enumerate(scores)]
    assert is_finished(history, trial) == expected
