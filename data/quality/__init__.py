"""Quality of a folder of clips: defects, duplicates, groups found from the pictures, leakage, and pages of each.

May import `data.dataset`, `data.loading`, `data.store` and `data.video`. Registered models contain a copy of
`checked_clip` and of what it imports, which therefore needs no packages but those of decoding.
"""
