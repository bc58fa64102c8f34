"""Clips: decoding, the shared frame store, splits, batches, audits, generated demo clips, and the command line.

The modules at the top are used by all sub-packages. Nothing in here may import `models`, `tuning`, Ray or MLflow.
"""
