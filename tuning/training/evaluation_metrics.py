"""The scores of a champion on the test split, as they are written to `test/metrics.json` and read from it."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from data.intervals import wilson_interval
from tuning.errors import TuningError
from tuning.training.bootstrap import Interval
from tuning.training.scores import Scores

METRICS_FILE = "metrics.json"


class EvaluationError(TuningError):
    """A run's `test/` folder is missing, incomplete or damaged."""


class _Metrics(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ClassMetrics(_Metrics):
    """Scores of one class."""

    precision: float
    recall: float
    f1: float
    support: int
    """Test clips of the class. With 0, recall and F1 are 0 and carry no information."""


class AveragedMetrics(_Metrics):
    """Scores of the mean logits over several views and crops of each clip."""

    views: int
    """Views of a clip in time."""
    crops: int
    """Squares cut from each view's frames."""
    accuracy: float
    accuracy_wilson_95: tuple[float, float]
    macro_f1: float

    @classmethod
    def of(cls, scores: Scores, views: int, crops: int) -> AveragedMetrics:
        """Return the scores of `views * crops` views and crops per clip."""
        return cls(
            views=views,
            crops=crops,
            accuracy=scores.accuracy,
            accuracy_wilson_95=accuracy_interval(scores),
            macro_f1=scores.macro_f1,
        )


class EvaluationMetrics(_Metrics):
    """Scores of the champion on the test split, one view and the centre crop of each clip.

    A new field needs a default, so that the files of older runs can still be read.
    """

    accuracy: float
    accuracy_wilson_95: tuple[float, float]
    """95 % Wilson interval, by clip."""
    macro_f1: float
    """Mean F1 of the classes that have test clips."""
    accuracy_group_95: Interval
    """95 % bootstrap interval, by group of clips."""
    macro_f1_group_95: Interval
    per_class: dict[str, ClassMetrics]
    confusion: tuple[tuple[int, ...], ...]
    """Clip counts `[true][predicted]`, in the order of `classes`."""
    classes: tuple[str, ...]
    num_clips: int
    averaged: AveragedMetrics | None
    """With several views or crops per clip, if the settings request them."""
    failed_clips: dict[str, str]
    """Test clips that can't be decoded: the reason by the clip's path."""
    split_sha256: str
    checkpoint_sha256: str

    def save(self, file: Path) -> None:
        """Write the metrics as JSON."""
        file.write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> EvaluationMetrics:
        """Read what `save` wrote.

        Raises:
            EvaluationError: the file is missing or damaged.
        """
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise EvaluationError(f"no test metrics in {file} ({error.strerror}); run evaluate first") from None
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            raise EvaluationError(f"{file} is damaged ({where} {fault['msg']}); run evaluate again") from None


def accuracy_interval(scores: Scores) -> tuple[float, float]:
    """Return the 95 % Wilson interval of the accuracy."""
    return wilson_interval(round(scores.accuracy * scores.num_clips), scores.num_clips)
