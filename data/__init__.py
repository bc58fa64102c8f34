"""Clips, splits, the shared frame store and batches. Knows neither models nor Ray."""
