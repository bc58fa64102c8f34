from __future__ import annotations

from pathlib import Path

import pytest

from tuning.config.load import parse_config
from tuning.config.paths import absolute_paths


def test_paths_become_absolute_but_names_of_weights_do_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
