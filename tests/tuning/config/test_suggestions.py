from __future__ import annotations

import pytest

from tests.tuning.config import CONFIGS
from tuning.config.load import load_config
from tuning.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["3", "--epochs"], "sweep has no option --epochs; settings are KEY=VALUE: write train.epochs=3"),
        (["--epochs=3"], "write train.epochs=3"),
        (["8", "--batch-size"], "write train.batch_size=8"),
        (["--train.epochs=3"], "write train.epochs=3"),
        (["--train-epochs=3"], "write train.epochs=3"),
        (["--epoch=3"], "write train.epochs=3"),
        (["--lr=1e-3"], "write space.lr=1e-3"),
        (["--arch=c3d", "train.epochs=2"], "write space.arch=c3d"),
        (["--weights=imagenet"], "write models.ARCH.weights=imagenet or space.by_arch.ARCH.weights=imagenet"),
        (["--seed=1"], "write data.seed=1, search.seed=1 or train.seed=1"),
        (["--epochs", "--lr", "1", "2"], "write train.epochs=VALUE"),
        (["--frobnicate"], "sweep has no option --frobnicate; settings are KEY=VALUE, such as train.epochs=3"),
        (["epochs"], "'epochs' is not an override: write KEY=VALUE, such as train.epochs=3"),
        (["epochs=3"], "unknown setting 'epochs'; did you mean 'train.epochs'?"),
        (["train.lr=0.1"], "unknown setting 'train.lr'; did you mean 'space.lr'?"),
        (["space.frames=8"], "did you mean 'space.num_frames' or 'store.frames'?"),
        (["seed=3"], "did you mean 'data.seed', 'search.seed' or 'train.seed'?"),
        (["space.batch_size=[4,8]"], "unknown setting 'space.batch_size'; did you mean 'space.train.batch_size'?"),
        (["space.by_arch.c3d.size=64"], "did you mean 'space.by_arch.c3d.0.train.size'?"),
        (
            ["space.epochs=[3,5]"],
            "space.epochs can't be tried: the scheduler and the leaderboard compare trials of equal length; set "
            "train.epochs for all trials",
        ),
        (["space.by_arch.c3d.epochs=[3,5]"], "can't be tried: the scheduler and the leaderboard"),
        (["space.seed=[0,1]"], "search.finalists repeats the best trials with other seeds"),
    ],
    ids=str,
)
def test_what_was_probably_meant_is_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIGS / "demo.yaml", words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
