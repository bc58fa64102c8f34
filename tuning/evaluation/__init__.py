"""Evaluate the champion on the test split, and compare trials on the validation clips.

`evaluate` writes a run's `test/` folder through `artifacts`. The other modules compute what the report concludes:
paired comparisons, frame order, importance of axes, label issues and the number of uses of the test split.

May import `tuning.inference`, `tuning.search`, `tuning.training` and `tuning.config`.
"""
