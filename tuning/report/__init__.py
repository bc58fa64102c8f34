"""The report of a sweep: findings as values, plots as SVG, and the page that shows them.

May import `tuning.evaluation` and everything that it may import.
"""
