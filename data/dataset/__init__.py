"""The labelled clips of a folder: their classes, their groups, and their split into train, val and test or folds.

Does not import `data.store` or `data.video`: a split needs file names and groups, not frames.
"""
