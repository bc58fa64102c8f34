"""What the champion is worth: the test split, frame order, paired comparisons, importance, label issues.

May import `tuning.inference`, `tuning.search`, `tuning.training` and `tuning.config`.
"""
