from __future__ import annotations

import typing

from data.dataset.stratify import FEW_GROUPS
from data.loading.frame_selection import SELECTIONS
from data.loading.sampling import SAMPLERS
from tuning.config.schema.data import DataConfig
from tuning.config.schema.space import AXES, ArchSpaceConfig, SpaceConfig
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig


def test_schema_has_the_choices_of_the_data_package() -> None:
    assert SpaceConfig(sampler=SAMPLERS, selection=SELECTIONS)
    assert set(typing.get_args(DataConfig.model_fields["few_groups"].annotation)) == set(FEW_GROUPS)


def test_every_axis_is_a_field_of_trial_config() -> None:
    assert set(AXES) <= set(TrialConfig.model_fields), "add the new axis to TrialConfig, where training reads it"
    assert set(AXES) & set(ArchSpaceConfig.model_fields) == {"weights", "lr", "num_frames"}


def test_every_setting_has_a_docstring() -> None:
    schema = SweepConfig.model_json_schema()
    classes = {"SweepConfig": schema, **schema["$defs"]}
    fields = [(name, key, field) for name, each in classes.items() for key, field in each["properties"].items()]
    assert len(fields) > 80
    # pydantic drops a docstring that equals the one of the section itself.
    assert [(name, key) for name, key, field in fields if "description" not in field and "$ref" not in field] == []
