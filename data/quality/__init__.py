"""Quality of a folder of clips: defects, duplicates, groups found from the pictures, leakage, and pages of each.

May import `data.dataset`, `data.store` and `data.video`.
"""
