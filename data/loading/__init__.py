"""From stored frames to batches: sampling, transforms, augmentation, loaders.

May import `data.store` and `data.video`.
"""
