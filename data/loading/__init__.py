"""From stored frames to the batches that a model takes: frame selection, samplers, transforms, augmentation, loaders.

May import `data.store` and `data.video`.
"""
