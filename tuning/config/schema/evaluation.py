"""Section `test`: how the champion is evaluated on the test split."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tuning.config.schema.base import Settings


class TestConfig(Settings):
    """How the champion is evaluated on the test split."""

    __test__ = False  # Tells pytest that this is not a test case.

    views: int = Field(1, ge=1)
    """Temporal views per test clip. With more than one view or crop, the scores of the mean prediction are reported in
    addition to those of the single view."""
    crops: Literal[1, 3] = 1
    """Spatial crops per frame. `1`: the centre. `3`: the centre and both ends of the longer side."""
    max_risk: float = Field(0.1, ge=0, le=1)
    """Largest share of wrong predictions that the champion may make on the clips it answers. It abstains from clips
    below a confidence threshold that is fitted on validation. Test scores count all clips; the report also gives the
    scores with abstention."""
