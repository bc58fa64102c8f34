"""What is wrong with clips: defects, duplicates, groups found from the pictures, leakage, and their pages.

May import `data.dataset`, `data.store` and `data.video`.
"""
