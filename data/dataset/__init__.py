"""The labelled clips of a folder: classes, groups and splits.

May import `data.store` for the checksums of files.
"""
