"""Section `data`: the clips and their split."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data.dataset.layout import FOLDERS, MERGE
from data.quality.limits import Limits
from tuning.config.schema.base import Listed, Settings

AUTO_GROUPS = "auto"
"""Value of `data.groups` that finds the groups instead of reading them from a file."""
OWN_SPLITS = (FOLDERS, MERGE)
"""Values of `data.split` that say what to do with split folders instead of naming a file."""


class DataConfig(Settings):
    """The labelled clips and how they are split into train, validation and test."""

    dir: str = ""
    """Folder of clips with one sub-folder per class. `--data` sets it."""
    split: str | None = Field(None, min_length=1)
    """Split CSV to use unchanged, as `python -m data split` writes it. `null`: make a new split. Where the clips are in
    split folders such as train, val and test: `folders` to use these splits (without val, groups are cut from train for
    it), `merge` to ignore them; else they are refused. `--split` sets it."""
    labels: Listed[str] = ()
    """Files with the class of each clip, if sub-folders don't say it: a CSV with the columns path and label (also group
    and split, if known), or lists of UCF101, Kinetics and MMAction2. `--labels` sets it."""
    merge_classes: bool = False
    """Make one class of classes whose names differ only in case, spaces, hyphens, underscores or the coding of accents;
    `false` refuses them. `--merge-classes` sets it."""
    groups: str | None = Field(None, min_length=1)
    """Which clips belong to one group (one source video or recording): a CSV as `FILE.csv` or `FILE.csv:COLUMN`, or
    `auto` to find groups from pictures and file names. Clips of one group never land in two splits. `null`: every clip
    is a group of its own. `--groups` sets it."""
    folds: int = Field(0, ge=0)
    """Number of folds, 2 or more, for grouped, stratified cross-validation: each trial trains one model per fold and is
    scored on every clip outside the test split by the model that was not trained on it. `0`: one validation split.
    `--folds` sets it."""
    val: float = Field(0.15, gt=0, lt=1)
    """Share of each class's clips in the validation split. Has no effect with `folds`."""
    test: float = Field(0.15, gt=0, lt=1)
    """Share of each class's clips in the test split."""
    seed: int = Field(0, ge=0)
    """Seed of the new split: another seed assigns other groups to each part."""
    few_groups: Literal["refuse", "leave-out", "train"] = "refuse"
    """What to do with a class that has too few groups for all three splits: `refuse` to start, `leave-out` the class,
    or `train` on it without testing it. `--few-groups` sets it."""
    max_failed: float = Field(0.01, ge=0, lt=1)
    """Largest share of clips that may fail to decode. The sweep leaves failed clips out; above this share it stops."""
    min_seconds: float = Field(0.5, ge=0)
    """A clip shorter than this is reported as suspect, but used. If it is not set, it is below `max_seconds`."""
    max_seconds: float = Field(60.0, gt=0)
    """A clip longer than this is reported as suspect, but used. If it is not set, it is above `min_seconds`."""
    copies: Literal["refuse", "allow"] = "refuse"
    """What to do with files of identical bytes that are in two classes, or in two splits of a given split CSV
    or of split folders."""

    @property
    def split_file(self) -> str | None:
        """The split CSV to use; None if the split comes from the clips or is to be made."""
        return None if self.split in OWN_SPLITS else self.split

    @model_validator(mode="after")
    def _at_least_two_folds(self) -> DataConfig:
        if self.folds == 1:
            raise ValueError("folds is 1, but one fold leaves nothing to train on: give 2 or more, or 0 for none")
        return self

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> DataConfig:
        given = {"min_seconds", "max_seconds"} <= self.model_fields_set
        if given and self.min_seconds >= self.max_seconds:
            raise ValueError(f"min_seconds ({self.min_seconds:g}) must be below max_seconds ({self.max_seconds:g})")
        return self

    def limits(self) -> Limits:
        """Return the thresholds from which a clip is suspect."""
        return Limits(min_seconds=self.min_seconds, max_seconds=self.max_seconds)
