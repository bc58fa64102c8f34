"""The architectures, a file each; `models.registry` lists them.

May import the building blocks at the top of `models`, and each other where one extends another.
"""
