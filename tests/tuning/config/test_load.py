from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.messages import exactly
from tests.tuning.config import CONFIGS
from tuning.config.load import load_config, load_run_config, save_config
from tuning.config.run_folder import RunFolder
from tuning.config.schema.search import AshaConfig
from tuning.config.schema.space import LogRange
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_configs_are_valid(file: Path) -> None:
    assert isinstance(load_config(file), SweepConfig)


def test_overrides_are_typed_and_a_single_value_is_a_list_of_one() -> None:
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
        ("name=a/b", "name is 'a/b': it can't contain '/'"),
        ("name=.a", "name is '.a': it can't start with '.'"),
        ("name=a ü", "name is 'a ü': it can't contain ' '"),
        ('name=""', "name is '': it is empty, or ends in a line break"),
        ("tracking.model_name='a:b'", "tracking.model_name is 'a:b': it can't contain ':'"),
        ("tracking.model_name=a?b", "tracking.model_name is 'a?b': it can't contain '?'"),
    ],
)
def test_refused_character_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=exactly(message)):
        load_config(CONFIGS / "demo.yaml", [override])


def test_value_that_yaml_would_cut_off_is_refused() -> None:
    with pytest.raises(ConfigError, match="'runs_dir=my #1 runs': YAML ignores what follows a #"):
        load_config(CONFIGS / "demo.yaml", ["runs_dir=my #1 runs"])
    assert load_config(CONFIGS / "demo.yaml", ['runs_dir="my #1 runs"']).runs_dir == "my #1 runs"
    assert load_config(CONFIGS / "demo.yaml", ["runs_dir=my#1"]).runs_dir == "my#1"


@pytest.mark.parametrize("name", ["${HOME}/clips", "a #1 ?[b]*&'ü: c", "%20"])
def test_paths_are_kept_letter_by_letter(name: str, tmp_path: Path) -> None:
    config = load_config(CONFIGS / "demo.yaml", [], {"data.dir": name})
    assert config.data.dir == name
    save_config(config, tmp_path / "config.yaml")
    assert load_run_config(tmp_path / "config.yaml") == config


def test_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        load_config(tmp_path / "none.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="pipe.yaml': it is a pipe or a device; give a file of settings"):
        load_config(tmp_path / "pipe.yaml")
    (tmp_path / "broken.yaml").write_text("train: [1, 2\nspace: }")
    with pytest.raises(ConfigError, match="can't read") as caught:
        load_config(tmp_path / "broken.yaml")
    assert "\n" not in str(caught.value)
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError):
        load_config(tmp_path / "list.yaml", ["train.epochs=3"])


def test_saved_config_has_all_settings_and_can_be_read(tmp_path: Path) -> None:
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
    config = old_run(tmp_path, "null").read_recorded_config()
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
    with pytest.raises(ConfigError, match="^search.pbt: population-based training was removed; leave it out"):
        load_config(CONFIGS / "demo.yaml", [f"search.pbt={pbt}"])


def test_override_of_a_nested_setting_replaces_null(tmp_path: Path) -> None:
    (tmp_path / "off.yaml").write_text("search: {asha: null}\n")
    config = load_config(tmp_path / "off.yaml", ["search.asha.grace_epochs=5"])
    assert config.search.asha is not None
    assert config.search.asha.grace_epochs == 5
