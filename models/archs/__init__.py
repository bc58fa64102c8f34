"""The architectures, one file each; `models.registry` lists them.

May import the building blocks at the top of `models`, and another architecture to extend it.
"""
